package triggers

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardmill/shardmill/sdk/abi"
)

// A function that rejects a record in each batch has a line at once, one an interval with their number, and one at the end.
func TestRejectedRecordsDoNotFloodTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.close()
		var log bytes.Buffer
		o := b.options()
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		var err error
		if b.Triggers, err = Open(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		b.functions.handle = outcomes(abi.ResultRejected, "bad date", 0)
		b.put(nil)
		synctest.Wait()
		first := b.stream.put(0, "0")
		for i := 1; i < 150; i++ {
			time.Sleep(time.Second)
			b.stream.put(0, fmt.Sprint(i))
		}
		synctest.Wait()
		lines := func() []string {
			var list []string
			for line := range strings.Lines(log.String()) {
				_, line, _ = strings.Cut(line, `reason="bad date" `)
				list = append(list, strings.TrimSpace(line))
			}
			return list
		}
		want := []string{
			fmt.Sprintf("records=1 first=%d last=%d", first, first),
			fmt.Sprintf("records=60 first=%d last=%d", first+1, first+60),
			fmt.Sprintf("records=60 first=%d last=%d", first+61, first+120),
		}
		if got := lines(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q, want %q", got, want)
		}
		// Another reason is news, and has its line at once.
		b.functions.setHandle(outcomes(abi.ResultRejected, "no such airport", 0))
		b.stream.put(0, "new")
		synctest.Wait()
		if !strings.Contains(log.String(), `reason="no such airport" records=1 `) {
			t.Errorf("%s", log.String())
		}
		b.close()
		if !strings.Contains(log.String(), fmt.Sprintf("records=29 first=%d last=%d\n", first+121, first+149)) {
			t.Errorf("what was counted is not told at the end:\n%s", log.String())
		}
	})
}

func TestRejectionsForgetWhatDoesNotComeAgain(t *testing.T) {
	var r rejections
	log := slog.New(slog.DiscardHandler)
	now := time.Now()
	for i := range 3 * maxRejectedReasons {
		r.group(fmt.Sprint(i)).records = 1
	}
	r.flush(log, now, false)
	if len(r.reasons) != maxRejectedReasons+1 || len(r.of) != len(r.reasons) {
		t.Errorf("%d reasons, %d groups", len(r.reasons), len(r.of))
	}
	r.group("0").records = 7
	r.flush(log, now.Add(rejectedInterval), false)
	if len(r.reasons) != 1 || len(r.of) != 1 || r.of["0"].records != 0 {
		t.Errorf("%v, %v", r.reasons, r.of)
	}
	r.flush(log, now.Add(2*rejectedInterval), false)
	if len(r.reasons) != 0 || len(r.of) != 0 {
		t.Errorf("%v, %v", r.reasons, r.of)
	}
}
