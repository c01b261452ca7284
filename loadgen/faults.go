package loadgen

// Faults are what shall go wrong at the fake host while a plan runs. The generator only carries them: package fakessh, which it does not
// know, reads and judges them.
type Faults struct {
	File string // the file that describes them, or in which Doc stands
	Doc  any    // the YAML node that describes them, from inside File; nil for the whole of File
}
