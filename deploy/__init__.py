"""Files of deployments: clusters, Prefect, Slurm, Kubernetes, containers. Data alone; see README.md in this folder."""
