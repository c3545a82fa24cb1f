package triggers

import (
	"errors"
	"fmt"

	"github.com/shardmill/shardmill/runtime"
)

// classify sorts an error of Invoke: nil is a reply, the function's own failures take one path whatever
// their kind, and everything else is the host's.
func classify(err error) class {
	var own *runtime.FunctionError
	switch {
	case err == nil:
		return replied
	case errors.As(err, &own):
		return failed
	case errors.Is(err, runtime.ErrThrottled):
		return throttled
	}
	return refused
}

// settled counts the records that a reply settled in another way than ok.
type settled struct{ Dropped, Rejected int }

// readOutcomes finds the lowest record asked for again (n when there is none) and counts what was settled
// below it. What the reply says of records from there on is void: they are delivered again.
func readOutcomes(outcomes []runtime.Outcome, n int) (retryFrom int, s settled) {
	retryFrom = n
	for _, o := range outcomes {
		if o.Result == runtime.ResultRetry {
			retryFrom = min(retryFrom, o.Index)
		}
	}
	for _, o := range outcomes {
		switch {
		case o.Index >= retryFrom:
		case o.Result == runtime.ResultDropped:
			s.Dropped++
		case o.Result == runtime.ResultRejected:
			s.Rejected++
		}
	}
	return retryFrom, s
}

// askedAgain says in an error why the record at the index is delivered again.
func askedAgain(outcomes []runtime.Outcome, index int) error {
	for _, o := range outcomes {
		if o.Index == index && o.Reason != "" {
			return fmt.Errorf("the function asked for record %d again: %s", index, o.Reason)
		}
	}
	return fmt.Errorf("the function asked for record %d again", index)
}
