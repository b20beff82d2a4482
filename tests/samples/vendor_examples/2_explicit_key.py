client = FetchHive(api_key="fhk_...")
