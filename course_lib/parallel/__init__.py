"""Many ranks, one model. Only comm.py, mesh.py, launch.py and join.py talk to torch.distributed."""
