"""How ranges of activations are estimated from calibration samples: plans, and what observes tensors by one."""
