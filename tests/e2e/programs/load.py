"""Send requests to the fake server and exit with the status asked for."""

import sys
import urllib.request

for _ in range(3):
    urllib.request.urlopen(urllib.request.Request(f"{sys.argv[1]}/generate", data=b"{}", method="POST")).read()
print("load done")
sys.exit(int(sys.argv[2]))
