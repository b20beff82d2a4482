"""A typed Python client for the Fetch Hive API."""

from .models import *
