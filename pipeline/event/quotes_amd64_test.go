package event

// eachKernel calls with each kernel of this processor in turn.
func eachKernel(with func(name string)) {
	had64, had32 := canList64, canList32
	defer func() { canList64, canList32 = had64, had32 }()
	if had64 {
		with("64 bytes")
	}
	if canList64 = false; had32 {
		with("32 bytes")
	}
}
