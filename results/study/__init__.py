"""The study: from a plan to committed data, and from committed data to the tables of its README.

results/nano/study.toml      what is trained and measured (plan.py, plan_file.py); its cost (cost.py)
runs/study/nano/             checkpoints and samples, not committed (jobs.py, execute.py)
results/nano/looks.csv       validation scores of what was looked at (this and the next two: collect.py)
results/nano/runs.csv        a row per measured model and step: settings, samples, tokens
results/nano/counts.parquet  a row per model, step, measure and problem: samples, correct, finished
results/nano/kl.csv          KL of each checkpoint to the base (kl.py)
results/nano/paths.parquet   correct solutions of the base, of it again, and of stages of training (paths.py)
results/nano/mass.parquet    the base's responses, scored under its checkpoints (traces.py, trace_mass.py)
results/nano/alignment*      gradient alignment of the base models (alignment.py)
results/nano/behavior.*      words in responses, and their page (behavior_*.py)
results/nano/*.md            pages of their own: expansion.md, alignment.md (expansion_page.py), behavior.md
results/nano/README.md       its tables are made from committed data and nothing else (tables.py)
"""
