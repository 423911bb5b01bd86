# promised: larger than 200 kB

answer = {"script": "#!/bin/bash\n" + "#" * 5_000_000}
