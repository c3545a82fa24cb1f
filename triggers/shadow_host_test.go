package triggers

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/shards"
)

// With the real parts: a shadow's outputs are compared with those of the serving version and are in no stream, across restarts; the promoted one's are.
func testComparesAShadow(t *testing.T, h *host) {
	in := h.create("in", 2)
	deploy := func(env map[string]string) {
		t.Helper()
		_, err := h.runtime.Deploy(t.Context(), "two", echoModule(t), runtime.Config{Emit: []string{"out"}, Timeout: time.Minute, Env: env})
		h.check(err)
	}
	deploy(nil)
	_, _, err := h.Put(t.Context(), Mapping{Name: "m", Stream: "in", Function: "two", Qualifier: "1", BatchSize: 40})
	h.check(err)
	deploy(map[string]string{"odd": "!"})
	s, created, err := h.PutShadow(t.Context(), "m", Shadow{Qualifier: "2", StartingPosition: Oldest})
	h.check(err)
	if !created || s.State != Enabled {
		t.Errorf("%+v", s)
	}
	put := func(first int) {
		t.Helper()
		var data []string
		for i := range 200 {
			word := "plain"
			if i == 100 {
				word = "odd"
			}
			data = append(data, fmt.Sprint(word, " ", first+i))
		}
		h.put(in, first, data...)
	}
	compared := func(records uint64) ShadowStatus {
		t.Helper()
		h.wait("m", func(s Status) bool { return h.atTip(s) && s.Shadow.Records >= records })
		s, err := h.Triggers.Shadow("m")
		h.check(err)
		return s
	}
	put(0)
	s = compared(200)
	if s.Changed != 1 || s.Same != 199 || s.Missing+s.Extra != 0 || len(s.Differences) != 1 || s.Serving.Fuel == 0 || s.Candidate.Fuel == 0 || s.Candidate.Duration == 0 {
		t.Fatalf("%+v", s)
	}
	if d := s.Differences[0]; string(d.Old) != "odd 100" || string(d.New) != "odd 100!" || string(d.Key) != "100" || d.Stream != "out" || d.First != d.Last || d.First == 0 {
		t.Errorf("%+v", d)
	}
	gone := "mapping/" + newID() // as if the host had ended while a mapping was deleted
	for _, consumer := range []string{gone, "another"} {
		_, err = in.SaveCheckpoint(t.Context(), shards.Checkpoint{Consumer: consumer, Shard: uint32(in.Shards()[0])})
		h.check(err)
	}
	h.stop()
	h.start()
	in, err = h.store.Stream("in")
	h.check(err)
	_, left := in.Checkpoint(gone, in.Shards()[0])
	if _, kept := in.Checkpoint("another", in.Shards()[0]); left || !kept {
		t.Errorf("after a restart: checkpoints of a mapping that is gone %v, of another consumer %v", left, kept)
	}
	if again, err := h.Triggers.Shadow("m"); err != nil || again.Records != 200 || again.Changed != 1 || again.ID != s.ID || len(again.Differences) != 1 {
		t.Errorf("after a restart: %+v, %v", again, err)
	}
	put(200)
	if s = compared(400); s.Records != 400 || s.Changed != 2 || s.Same != 398 {
		t.Errorf("%+v", s.Comparison)
	}
	if got := h.emitted(); len(got) != 400 || got["odd 100"] != 1 || got["odd 100!"] != 0 {
		t.Errorf("emitted %d, odd %d and %d", len(got), got["odd 100"], got["odd 100!"])
	}
	_, err = h.Promote(t.Context(), "m", s.ID)
	h.check(err)
	put(400)
	h.wait("m", h.atTip)
	got := h.emitted()
	if len(got) != 600 || got["odd 500!"] != 1 || got["odd 500"] != 0 {
		t.Errorf("after it was promoted: emitted %d, odd %d and %d", len(got), got["odd 500!"], got["odd 500"])
	}
	for data, n := range got {
		if n != 1 {
			t.Errorf("%q was emitted %d times", data, n)
		}
	}
	if _, err := h.Triggers.Shadow("m"); !errors.Is(err, ErrNoShadow) {
		t.Error(err)
	}
}
