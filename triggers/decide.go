package triggers

import "time"

// class is how one attempt to have a batch handled ended.
type class uint8

const (
	undelivered class = iota // not attempted yet: only the records' age matters
	replied                  // the function returned a reply; outcome.RetryFrom says what it asks for again
	failed                   // the function's own failure: error return, trap, timeout, memory, exit, malformed reply
	throttled                // no instance of the function was free
	refused                  // the host's failure: no such function, outputs that cannot be put, …
)

// outcome is the result of one attempt.
type outcome struct {
	Class     class
	RetryFrom int // with replied: the lowest record asked for again; the number of records when none is
}

// facts are what decide knows of a batch.
type facts struct {
	Records int // at least 1
	Expired int // how many at its head are older than the mapping's maximum record age
}

// tries is what has been spent on the records at the head of a batch.
type tries struct {
	Attempts int // attempts that count against the limit
	Refusals int // attempts in a row that do not: throttles and the host's failures
}

// policy is the part of a mapping (and of the options) that decide goes by.
type policy struct {
	MaxAttempts int     // 0 = without limit
	Failure     backoff // between attempts after the function's failures
	Refusal     backoff // between attempts after throttles and the host's failures
}

// Reason says why records were given up.
type Reason string

// The reasons, by Lambda's names for them.
const (
	AttemptsExhausted Reason = "RetryAttemptsExhausted"
	AgeExceeded       Reason = "RecordAgeExceeded"
)

// decision divides a batch: the first Settle records are done with, the Discard records after them are
// given up for Reason, and the rest, if any, is attempted after Delay with the count Next.
type decision struct {
	Settle  int
	Discard int
	Reason  Reason
	Delay   time.Duration // the longest; the poller scatters it, see jitter
	Next    tries
}

// decide is the whole policy of event source mappings, in the order of Lambda's failure flow. It is asked
// before each attempt (undelivered) and after it. t is what had been spent before that attempt.
//
//   - Age goes first and alone: expired records at the head are given up by themselves, before an attempt.
//   - A reply settles the records below the lowest one it asks for again. That is progress, so what
//     remains has its whole quota again. A reply that settles nothing is a failure.
//   - The function's failures of every kind count one attempt; the batch is given up with the last.
//   - Throttles and the host's failures never count and never give up.
func decide(f facts, o outcome, t tries, p policy) decision {
	switch {
	case o.Class == undelivered && f.Expired > 0:
		return decision{Discard: f.Expired, Reason: AgeExceeded}
	case o.Class == undelivered:
		return decision{Next: t}
	case o.Class == replied && o.RetryFrom >= f.Records:
		return decision{Settle: f.Records}
	case o.Class == replied && o.RetryFrom > 0:
		return decision{Settle: o.RetryFrom, Delay: p.Failure.delay(1)}
	case o.Class == throttled || o.Class == refused:
		t.Refusals++
		return decision{Delay: p.Refusal.delay(t.Refusals), Next: t}
	}
	t = tries{Attempts: t.Attempts + 1}
	if p.MaxAttempts > 0 && t.Attempts >= p.MaxAttempts {
		return decision{Discard: f.Records, Reason: AttemptsExhausted}
	}
	return decision{Delay: p.Failure.delay(t.Attempts), Next: t}
}

// backoff doubles from Base to Max.
type backoff struct{ Base, Max time.Duration }

// delay is the wait after the n-th failure in a row, from 1.
func (b backoff) delay(n int) time.Duration {
	d := b.Base
	for ; n > 1 && d < b.Max; n-- {
		d *= 2
	}
	return min(d, b.Max)
}

// jitter scatters d over its upper half, so that what failed together does not come back together; r is in
// [0, 1).
func jitter(d time.Duration, r float64) time.Duration {
	return d - time.Duration(r*float64(d/2))
}
