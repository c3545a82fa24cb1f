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
	e.Mapping.StartingPosition = rapid.SampledFrom([]Position{Oldest, Newest, AtTime}).Draw(rt, "starting position")
	e.Mapping.Consumer = rapid.SampledFrom([]string{"", "c"}).Draw(rt, "consumer")
	e.Before = drawSteps(rt, "put put wait reshard", 5)
	e.Since = rapid.IntRange(0, 5).Draw(rt, "since")
	e.Steps = drawSteps(rt, "put put put put put wait wait wait wait change change pause seek stop kill reshard destination consumer", 25)
	return e
}

func drawSteps(rt *rapid.T, kinds string, most int) (list []happening) {
	for range rapid.IntRange(1, most).Draw(rt, "steps") {
		s := happening{Kind: rapid.SampledFrom(strings.Fields(kinds)).Draw(rt, "step")}
		switch s.Kind {
		case "put":
			s.A, s.B = rapid.IntRange(0, 9).Draw(rt, "shard"), rapid.IntRange(1, 6).Draw(rt, "records")
		case "reshard":
			s.A, s.B = rapid.IntRange(0, 9).Draw(rt, "shard"), rapid.IntRange(0, 9).Draw(rt, "other")
		case "wait", "consumer":
			s.Wait = drawDuration(rt, "wait", time.Minute)
		case "seek":
			s.A, s.B, s.Wait = rapid.IntRange(0, 9).Draw(rt, "shard"), rapid.IntRange(0, 6).Draw(rt, "to"), drawDuration(rt, "back", 5*time.Minute)
		case "change":
			s.Mapping = drawSettings(rt)
		}
		list = append(list, s)
	}
	return list
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
		Qualifier:          rapid.SampledFrom([]string{"", "$LATEST", "2", "prod"}).Draw(rt, "qualifier"),
		Aggregated:         rapid.IntRange(0, 3).Draw(rt, "aggregated") == 0,
	}
	if m.TumblingWindow > 0 {
		m.Parallelization = 1
	}
	if rapid.Bool().Draw(rt, "filter") {
		m.Filters = []string{`{"partitionKey": [{"anything-but": ["k0"]}]}`}
	}
	return m
}
