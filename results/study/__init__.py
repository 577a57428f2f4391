"""The study: from a plan to committed data, and from committed data to the tables of its README.

results/nano/study.toml      what is trained and measured
runs/study/nano/             checkpoints and samples, not committed; a killed study goes on from here
results/nano/looks.csv       validation scores of the learning rates that were looked at
results/nano/runs.csv        one row per trained model: settings, updates, tokens
results/nano/counts.parquet  one row per model, benchmark and problem: samples, correct
results/nano/README.md       its tables are made from these three files and nothing else
"""
