package loadgen

import "time"

// Sample is one finished call. Times are offsets from the start of the arm on the monotonic clock.
type Sample struct {
	Step     int           // index into Plan.Steps
	Intended time.Duration // when the schedule wanted it; for a closed executor, and for steps after the first, equal to Start
	Start    time.Duration // when it was sent
	End      time.Duration // when its reply was complete
	Bytes    int64         // payload moved, where the tool reports bytes_transferred, else output length
	Outcome  string        // "" for success, else an error code (the server's, or TRANSPORT, TIMEOUT, CHECK_FAILED)
	Progress time.Duration // when the first notification of progress came; 0 when none did or none was asked for
	Cut      time.Duration // when the client cancelled it, as Step.CancelAfter wants; 0 when it did not
	Timing   Timing
}
