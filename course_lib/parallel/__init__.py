"""Many ranks, one model. Only comm.py, mesh.py and launch.py here talk to torch.distributed."""
