package triggers

import (
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/shardmill/shardmill/runtime"
)

// failureKinds are the ways in which a function fails.
var failureKinds = []runtime.ErrorKind{runtime.FailError, runtime.FailTrap, runtime.FailTimeout, runtime.FailMemory, runtime.FailExit, runtime.FailMalformed}

func drawEpisode(rt *rapid.T) episode {
	e := episode{
		Seed: rapid.Uint32().Draw(rt, "seed"), Mapping: drawSettings(rt), Lambda: rapid.Bool().Draw(rt, "lambda"), Keys: rapid.IntRange(2, 12).Draw(rt, "keys"),
	}
	e.Mapping.StartingPosition = rapid.SampledFrom([]Position{Oldest, Newest}).Draw(rt, "starting position") // the same: nothing is there yet
	kinds := strings.Fields("put put put put wait wait wait change pause stop kill reshard destination")
	for range rapid.IntRange(1, 25).Draw(rt, "steps") {
		s := happening{Kind: rapid.SampledFrom(kinds).Draw(rt, "step")}
		switch s.Kind {
		case "put":
			s.A, s.B = rapid.IntRange(0, 9).Draw(rt, "shard"), rapid.IntRange(1, 6).Draw(rt, "records")
		case "reshard":
			s.A, s.B = rapid.IntRange(0, 9).Draw(rt, "shard"), rapid.IntRange(0, 9).Draw(rt, "other")
		case "wait":
			s.Wait = drawDuration(rt, "wait", time.Minute)
		case "change":
			s.Mapping = drawSettings(rt)
		}
		e.Steps = append(e.Steps, s)
	}
	return e
}

func drawSettings(rt *rapid.T) Mapping {
	m := Mapping{
		Name: "m", Stream: "s", Function: "f", OnFailure: "stream:failed",
		BatchSize:       rapid.IntRange(1, 12).Draw(rt, "batch size"),
		BatchWindow:     rapid.SampledFrom([]time.Duration{0, 0, time.Second, 20 * time.Second}).Draw(rt, "window"),
		MaxAttempts:     rapid.IntRange(0, 4).Draw(rt, "max attempts"),
		MaxRecordAge:    rapid.SampledFrom([]time.Duration{0, 0, time.Minute, 10 * time.Minute}).Draw(rt, "max age"),
		Parallelization: rapid.SampledFrom([]int{1, 1, 2, 3, 10}).Draw(rt, "lanes"),
		TumblingWindow:  rapid.SampledFrom([]time.Duration{0, 0, 0, 10 * time.Second, time.Minute}).Draw(rt, "tumbling"),
		Bisect:          rapid.Bool().Draw(rt, "bisect"),
		Isolate:         rapid.Bool().Draw(rt, "isolate"),

		ReportItemFailures: rapid.Bool().Draw(rt, "report item failures"),
		FailureTrace:       rapid.Bool().Draw(rt, "failure trace"),
		EventCounts:        rapid.Bool().Draw(rt, "event counts"),
	}
	if m.TumblingWindow > 0 {
		m.Parallelization = 1
	}
	if rapid.Bool().Draw(rt, "filter") {
		m.Filters = []string{`{"partitionKey": [{"anything-but": ["k0"]}]}`}
	}
	return m
}
