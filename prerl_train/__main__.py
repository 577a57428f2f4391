"""`python -m prerl_train`, which is what `accelerate launch -m prerl_train dsrl ...` runs."""

from prerl_train.cli import main

if __name__ == "__main__":
    main()
