package detectors

// KindsRemembered lets tests see the size of an evaluator's memory.
func KindsRemembered(e *Evaluator) int { return len(e.lookup.kinds) }
