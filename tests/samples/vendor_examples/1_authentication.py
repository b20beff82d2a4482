from fetch_hive_sdk import FetchHive

client = FetchHive()
