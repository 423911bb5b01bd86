# promised: the first line of a job script must be #!/bin/bash

answer = {"script": "\ud800\0\x1b" * 100}
