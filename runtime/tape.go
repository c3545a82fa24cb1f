package runtime

import (
	"crypto/rand"
	"time"

	"github.com/shardmill/shardmill/internal/capsule"
)

// senses are what a guest learns of the world: clocks, random numbers and answers of the host. Where it has a tape they are noted there, or come from it.
// They are used by the goroutine that runs the instance.
type senses struct {
	watch *watch
	note  *recording // what is read and answered is added here; nil notes nothing
	play  *player    // what is read comes from here, as long as there is any; nil is the world
	drawn int        // bytes of random numbers that were read
	dated bool       // the time of day was read
}

// player hands a tape out again.
type player struct {
	tape    capsule.Tape
	answers *retelling // of the host; nil: it answers itself
	over    bool       // more was read than the tape has
	timed   bool       // sleeping takes its time
	note    *recording // of all that is read, what is beyond the tape too; nil notes nothing
}

// epoch is when the guests' monotonic clock began.
var epoch = time.Now()

// walltime implements sys.Walltime.
func (s *senses) walltime() (sec int64, nsec int32) {
	s.dated = true
	if s.note == nil && s.play == nil {
		now := time.Now()
		return now.Unix(), int32(now.Nanosecond())
	}
	now := s.reading(func(t *capsule.Tape) *[]int64 { return &t.Wall }, func() int64 { return time.Now().UnixNano() })
	return now / 1e9, int32(now % 1e9)
}

// nanotime implements sys.Nanotime.
func (s *senses) nanotime() int64 {
	if s.note == nil && s.play == nil {
		return int64(time.Since(epoch))
	}
	return s.reading(func(t *capsule.Tape) *[]int64 { return &t.Mono }, func() int64 { return int64(time.Since(epoch)) })
}

// reading is one of a clock.
func (s *senses) reading(clock func(*capsule.Tape) *[]int64, world func() int64) int64 {
	var v int64
	if s.play != nil && len(*clock(&s.play.tape)) > 0 {
		from := clock(&s.play.tape)
		v, *from = (*from)[0], (*from)[1:]
	} else {
		if s.play != nil {
			s.play.over = true
		}
		v = world()
	}
	if s.note != nil {
		if to := clock(s.note.tape); len(*to) < capsule.MaxReadings {
			*to = append(*to, v)
		} else {
			s.note.tape.Cut = true
		}
	}
	return v
}

// Read reads some random bytes.
func (s *senses) Read(p []byte) (int, error) {
	s.watch.proceed()
	p = p[:min(len(p), piece)]
	s.drawn += len(p)
	n := 0
	if s.play != nil {
		n = copy(p, s.play.tape.Random)
		s.play.tape.Random = s.play.tape.Random[n:]
		s.play.over = s.play.over || n < len(p)
	}
	if n < len(p) {
		if _, err := rand.Read(p[n:]); err != nil {
			return n, err
		}
	}
	if s.note != nil {
		to := s.note.tape
		taken := min(len(p), capsule.MaxRandom-len(to.Random))
		to.Random = append(to.Random, p[:taken]...)
		to.Cut = to.Cut || taken < len(p)
	}
	return len(p), nil
}

// sleep implements sys.Nanosleep. What is played again takes no time.
func (s *senses) sleep(ns int64) {
	if s.play == nil || s.play.timed {
		s.watch.sleep(ns)
	}
}
