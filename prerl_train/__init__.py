"""prerl_train: PreRL, DSRL and the baselines; its reward is the grader of prerl_eval."""
