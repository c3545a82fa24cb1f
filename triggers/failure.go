package triggers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"time"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
)

// Failures stores what mappings give up, at the destinations that they name. It is safe for concurrent use.
type Failures interface {
	// Check refuses a destination that cannot work, before a mapping is stored; the error is a *FieldError of the field onFailure, or says
	// why it cannot be reached.
	Check(ctx context.Context, uri string) error
	// Deliver blocks until f is stored durably at the destination. It only reads f, and only until it returns. After an error it is called
	// again with the same records, so that a destination may have them more than once.
	Deliver(ctx context.Context, uri string, f Failure) error
}

// Failure is records that a mapping has given up, or that its function has rejected: what an on-failure destination gets. They are of
// one shard and in order, but need not be all between the first and the last.
type Failure struct {
	MappingID  string
	Source     runtime.Source // mapping, stream, shard, and the sequence numbers of the first and the last record
	Consumer   string         // that the mapping reads as; "" = none
	Function   string
	Qualifier  string // as the mapping has it
	Version    int    // that ran last; 0 = none did
	Invocation string // the last one's id; "" = there was none

	Reason   Reason
	Attempts int                    // that counted, the last included
	Err      string                 // what the last attempt came to, or why the function rejected the records; "" = there was none
	Failed   *runtime.FunctionError // the function's own failure, when it was one
	Traced   bool                   // the mapping wants to be told at the destination how the function failed

	FirstArrival, LastArrival time.Time
	Records                   []record.Run
	Count                     int // of the records
	Time                      time.Time

	Window runtime.Window // the tumbling window that was open, which Count 0 says is what was given up; zero = none
	State  []byte         // that the window had: a JSON object of a function that takes Lambda's event, else what the function made of it
}

// last is what a lane remembers of its last attempt that was not simply ok.
type last struct {
	version    int
	invocation string
	failed     *runtime.FunctionError
}

// lastOf takes what is to be remembered from the error of an invocation.
func lastOf(err error) (l last) {
	if errors.As(err, &l.failed) {
		l.version, l.invocation = l.failed.Version, l.failed.Invocation
	}
	return l
}

// failure describes the n records of some runs, which it keeps.
func (l *lane) failure(s *settings, reason Reason, runs []record.Run, n int) Failure {
	first, final := runs[0].First(), runs[len(runs)-1].Last()
	return Failure{
		MappingID: s.ID, Source: l.source(s, first.Sequence, final.Sequence), Consumer: s.Consumer, Function: s.Function, Qualifier: s.Qualifier,
		Reason: reason, FirstArrival: time.UnixMicro(first.Arrival).UTC(), LastArrival: time.UnixMicro(final.Arrival).UTC(),
		Records: runs, Count: n, Time: time.Now().UTC(), Traced: s.FailureTrace,
		Window: l.p.window.call(false), State: l.p.window.state,
	}
}

// giveUp counts and logs the records that d discards, and has them stored at the on-failure destination.
func (l *lane) giveUp(read, work context.Context, d decision) error {
	s := l.p.r.settings.Load()
	f := l.failure(s, d.Reason, slices.Clone(l.batch.stretch(d.Settle, d.Discard)), d.Discard)
	l.attempted(&f, d.Reason)
	stored, err := l.deliver(read, work, &f)
	if err != nil {
		return err
	}
	g := GivenUp{
		First: f.Source.First, Last: f.Source.Last, Records: f.Count,
		Reason: f.Reason, Attempts: f.Attempts, Time: f.Time, Error: f.Err,
	}
	l.p.progress.gaveUp(g, stored)
	l.p.log.Error("records were given up", "reason", g.Reason, "records", g.Records,
		"first", g.First, "last", g.Last, "attempts", g.Attempts, "error", g.Error)
	return nil
}

// attempted tells f of the attempts that were made.
func (l *lane) attempted(f *Failure, reason Reason) {
	if f.Attempts = l.tries.Attempts; reason == AttemptsExhausted {
		f.Attempts++ // the one that was just made
	}
	if f.Attempts > 0 {
		f.Version, f.Invocation, f.Failed = l.last.version, l.last.invocation, l.last.failed
	}
	f.Err = l.p.progress.lastError(l.number, f.Attempts)
}

// deliver has f stored at the mapping's on-failure destination, if it has one, which stored tells. It tries until it succeeds, or the poller is stopped: then
// the checkpoint stays where it is.
func (l *lane) deliver(read, work context.Context, f *Failure) (stored bool, err error) {
	for n := 1; ; n++ {
		uri := l.p.r.settings.Load().OnFailure
		if uri == "" || l.p.r.failures == nil {
			return false, nil
		}
		err := l.p.r.failures.Deliver(work, uri, *f)
		if err == nil {
			l.p.progress.sent(f.Count)
			return true, nil
		}
		if work.Err() != nil {
			l.p.progress.cutOff(fmt.Sprintf("the delivery of the records %d to %d to the on-failure destination", f.Source.First, f.Source.Last))
			return false, errCutOff
		}
		if n == 1 {
			l.p.log.Error("the on-failure destination does not take records; it is tried again", "destination", redacted(uri),
				"first", f.Source.First, "last", f.Source.Last, "error", err)
		}
		l.p.progress.undelivered(l.number, err)
		if !sleep(read, jitter(l.p.r.retry.Failure.delay(n), rand.Float64())) {
			return false, context.Cause(read)
		}
	}
}

// rejected collects the records that a reply rejects, by reason, for the on-failure destination.
func (l *lane) rejected(s *settings, reply *runtime.Reply, below int) {
	if s.OnFailure == "" {
		return
	}
	at := l.batch.ascending()
	found := map[string]int{} // reason → where in l.rejects
	for _, o := range reply.Outcomes {
		if o.Result != runtime.ResultRejected || o.Index >= below {
			continue
		}
		run := at(o.Index)
		i, ok := found[o.Reason]
		if !ok {
			i = len(l.rejects)
			found[o.Reason] = i
			f := l.failure(s, RecordRejected, []record.Run{run}, 1)
			f.Attempts, f.Err, f.Version, f.Invocation = l.tries.Attempts+1, o.Reason, reply.Version, reply.Invocation
			l.rejects = append(l.rejects, f)
			continue
		}
		f, r := &l.rejects[i], run.First()
		f.Records = append(f.Records, run)
		f.Count++
		f.Source.Last, f.LastArrival = r.Sequence, time.UnixMicro(r.Arrival).UTC()
	}
}

// sendRejected delivers what rejected has collected.
func (l *lane) sendRejected(read, work context.Context) error {
	for i := range l.rejects {
		if _, err := l.deliver(read, work, &l.rejects[i]); err != nil {
			return err
		}
	}
	clear(l.rejects)
	l.rejects = l.rejects[:0]
	return nil
}

// redacted is a destination as it may stand in a log.
func redacted(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return shorten(uri)
	}
	return u.Redacted()
}
