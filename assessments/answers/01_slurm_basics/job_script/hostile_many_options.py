# promised: script has 150,012 characters

answer = {"script": "#!/bin/bash\n" + "#SBATCH -N2\n" * 12_500}
