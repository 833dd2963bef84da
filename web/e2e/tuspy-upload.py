"""Uploads a file with tuspy and prints the address of the upload: `TOKEN=… tuspy-upload.py ENDPOINT FILE RETRIES`."""

import os
import sys

from tusclient.client import TusClient

endpoint, path, retries = sys.argv[1:]
client = TusClient(endpoint, headers={"Authorization": f"Bearer {os.environ['TOKEN']}"})
# It does not try again unless told to, and waits half a minute before it does.
uploader = client.uploader(path, metadata={"item": "bacalhau"}, retries=int(retries), retry_delay=0.01)
uploader.upload()
print(uploader.url)
