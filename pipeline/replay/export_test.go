package replay

// KeepAfter has runs look after n events whether to keep their state, until undo.
func KeepAfter(n int) (undo func()) {
	was := keepSteps
	keepSteps = n
	return func() { keepSteps = was }
}
