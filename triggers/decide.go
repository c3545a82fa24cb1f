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
	Records int // of the attempt: the first part of the batch; at least 1
	Expired int // how many at the batch's head are older than the mapping's maximum record age; of all its parts
	Retired int // as Expired, when they were tried: how many have passed the stream's retention
}

// tries is what has been spent on the records at the head of a batch.
type tries struct {
	Attempts int // attempts that count against the limit
	Refusals int // attempts in a row that do not: throttles and the host's failures
	Suspect  int // with Isolate: one of so many records at the head makes the function fail, and it is being looked for; 0 = none
}

// policy is the part of a mapping (and of the options) that decide goes by.
type policy struct {
	MaxAttempts int     // 0 = without limit
	Bisect      bool    // halve what fails, and deliver the halves one after the other
	Isolate     bool    // look for the one record that fails, at once; goes before Bisect
	Failure     backoff // between attempts after the function's failures
	Refusal     backoff // between attempts after throttles and the host's failures
}

// Reason says why records were given up.
type Reason string

// The reasons; the first two by Lambda's names for them.
const (
	AttemptsExhausted Reason = "RetryAttemptsExhausted"
	AgeExceeded       Reason = "RecordAgeExceeded"
	RecordExpired     Reason = "RecordExpired"  // the stream itself has dropped what could not be handled until then
	RecordTooLarge    Reason = "RecordTooLarge" // for the function's event: it has never had the record
	RecordRejected    Reason = "RecordRejected" // the function's own word, see sdk/abi.md; only told to the on-failure destination
)

// decision divides a batch: the first Settle records are done with, the Discard records after them are given up for Reason, and the
// rest, if any, is attempted after Delay with the count Next. What is attempted is the first part of the rest.
type decision struct {
	Settle  int
	Discard int
	Reason  Reason
	Join    bool          // the parts that are left become one again
	Split   int           // then the first part is divided behind so many records; 0 = it stays whole
	Delay   time.Duration // the longest; the lane scatters it, see jitter
	Next    tries
}

// decide is the whole policy of event source mappings, in the order of Lambda's failure flow. It is asked
// before each attempt (undelivered) and after it. t is what had been spent before that attempt.
//
//   - Age goes first and alone: expired records at the head are given up by themselves, before an attempt. What the stream's
//     retention has dropped meanwhile is not tried for ever either.
//   - A reply settles the records below the lowest one it asks for again. That is progress, so what
//     remains has its whole quota again. A reply that settles nothing is a failure.
//   - Throttles and the host's failures never count and never give up.
//   - With Bisect, more than one record that fail are halved; each half has a quota of its own.
//   - With Isolate, the culprit among them is looked for by halving, without waiting; it is attempted alone from then on.
//   - Every other failure of the function counts one attempt; the records are given up with the last.
func decide(f facts, o outcome, t tries, p policy) decision {
	switch {
	case o.Class == undelivered && f.Expired > 0:
		return decision{Discard: f.Expired, Reason: AgeExceeded}
	case o.Class == undelivered && f.Retired > 0:
		return decision{Discard: f.Retired, Reason: RecordExpired}
	case o.Class == undelivered:
		return decision{Next: t}
	case o.Class == replied && o.RetryFrom >= f.Records:
		return succeeded(f, t, p)
	case o.Class == replied && o.RetryFrom > 0:
		d := decision{Settle: o.RetryFrom, Delay: p.Failure.delay(1)}
		if p.Isolate {
			d.Split = 1 // it is the culprit's turn: the function has named it
		}
		return d
	case o.Class == throttled || o.Class == refused:
		t.Refusals++
		return decision{Delay: p.Refusal.delay(t.Refusals), Next: t}
	}
	named := o.Class == replied // and the first record is the one
	switch {
	case f.Records > 1 && p.Isolate && !named:
		return decision{Split: f.Records / 2, Next: tries{Suspect: f.Records}}
	case f.Records > 1 && p.Bisect && !p.Isolate:
		return decision{Split: f.Records / 2, Delay: p.Failure.delay(1)}
	}
	return exhaust(f, t, p)
}

// succeeded decides after an attempt that settled all its records. While a culprit is being looked for it is among those
// that follow.
func succeeded(f facts, t tries, p policy) decision {
	d := decision{Settle: f.Records}
	suspect := t.Suspect - f.Records
	switch {
	case !p.Isolate:
	case suspect > 1:
		d.Split, d.Next.Suspect = suspect/2, suspect
	case suspect < 1:
		d.Join = true
	}
	return d
}

// exhaust counts a failure of records that are not divided further.
func exhaust(f facts, t tries, p policy) decision {
	n := t.Attempts + 1
	if p.MaxAttempts == 0 || n < p.MaxAttempts {
		d := decision{Delay: p.Failure.delay(n), Next: tries{Attempts: n}}
		if p.Isolate && f.Records > 1 {
			d.Split = 1
		}
		return d
	}
	d := decision{Discard: f.Records, Reason: AttemptsExhausted}
	if p.Isolate {
		d.Discard, d.Join = 1, true
	}
	return d
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
