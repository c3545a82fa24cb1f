package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

//go:generate wat2wasm echo/echo.wat -o echo/echo.wasm

// echoModule is a function that emits what it is given to the stream that has its own name.
//
//go:embed echo/echo.wasm
var echoModule []byte

// figure is one measured number. Names are stable, so that two runs can be compared.
type figure struct {
	Name     string   `json:"name"`
	Value    float64  `json:"value"`
	Unit     string   `json:"unit"`
	Baseline *float64 `json:"baseline"` // the same measured of something else in the same run
	Ratio    *float64 `json:"ratio"`    // value / baseline
	Goal     string   `json:"goal"`     // what is asked, of the ratio or of the value; "" when it is only reported
	Met      *bool    `json:"met"`
}

// measured is a figure without a goal.
func measured(name string, value float64, unit string) figure {
	return figure{Name: name, Value: value, Unit: unit}
}

// against sets the figure beside a baseline.
func (f figure) against(baseline float64) figure {
	ratio := f.Value / baseline
	f.Baseline, f.Ratio = &baseline, &ratio
	return f
}

func (f figure) atLeast(goal float64) figure { return f.judge(">=", goal, f.measure() >= goal) }
func (f figure) atMost(goal float64) figure  { return f.judge("<=", goal, f.measure() <= goal) }

// measure is what the goal is about: the ratio where there is one.
func (f figure) measure() float64 {
	if f.Ratio != nil {
		return *f.Ratio
	}
	return f.Value
}

func (f figure) judge(relation string, goal float64, met bool) figure {
	what := "value"
	if f.Ratio != nil {
		what = "ratio"
	}
	f.Goal = fmt.Sprintf("%s %s %s", what, relation, strconv.FormatFloat(goal, 'f', -1, 64))
	f.Met = &met
	return f
}

// bench is one run of the figures.
type bench struct {
	a      *app
	quick  bool
	source string // a checkout, for the function that is built from Go
	dir    string // scratch, removed at the end
	report func(figure) error
}

// measurement is one group of figures.
type measurement struct {
	name string
	what string
	run  func(*bench, context.Context) error
}

var measurements = []measurement{
	{"put", "durable puts beside JetStream and beside bare writes", (*bench).put},
	{"open", "opening a host with a large journal", (*bench).open},
	{"http", "events over HTTP", (*bench).http},
	{"invoke", "records through a function", (*bench).invoke},
	{"start", "how soon an instance is ready, from a snapshot and without", (*bench).start},
	{"meter", "what it costs that functions can be stopped, and how soon they are", (*bench).meter},
	{"deploy", "from an upload to its first answer, and what functions hold that nobody calls", (*bench).deploy},
	{"latency", "from a put to the function's output", (*bench).latency},
	{"once", "what exactly-once outputs cost", (*bench).once},
	{"mapping", "event source mappings: how fast, and how soon", (*bench).mapping},
	{"thousand", "1,000 mappings on 1,000 shards: how soon", (*bench).thousand},
	{"ten", "ten mappings on one shard beside one: what they read of the disk", (*bench).ten},
	{"isolate", "how soon a poison record is found and given up", (*bench).isolate},
	{"kinesis", "Kinesis' protocol: puts, reads, subscriptions", (*bench).kinesis},
	{"idle", "1,000 shards with a mapping and nothing to do", (*bench).idle},
}

func newBench(a *app) *cobra.Command {
	b := &bench{a: a}
	var only []string
	var profile string
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure this machine: puts, reads of the log, functions, the way from end to end",
		Long: "Measure the figures of docs/bench.md on this machine, in temporary folders under --dir. Each figure is\n" +
			"one line; a goal that is not met does not fail the command. Functions are built from Go, which needs the Go\n" +
			"toolchain and a checkout (--source); figures that lack them are left out, and that is said.",
		Args: arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return profiled(profile, func() error { return b.all(cmd.Context(), only) })
		},
	}
	flags := c.Flags()
	flags.StringVar(&profile, "cpuprofile", "", "write a profile of the processor's time to this file, for go tool pprof")
	flags.BoolVar(&b.quick, "quick", false, "measure with less data: all in under a minute")
	flags.StringSliceVar(&only, "only", nil, "measure these groups: put, open, http, invoke, start, meter, deploy, latency, once, mapping, thousand, ten, isolate, kinesis, idle")
	flags.StringVar(&b.source, "source", ".", "a checkout of Shardmill")
	flags.StringVar(&b.dir, "dir", "", "measure on the disk of this folder (default: the system's folder for temporary files)")
	c.AddCommand(newBenchHost(a))
	return c
}

// profiled runs f, under a profile where a file is named.
func profiled(file string, f func() error) error {
	if file == "" {
		return f()
	}
	to, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("--cpuprofile: %w", err)
	}
	if err := pprof.StartCPUProfile(to); err != nil {
		return errors.Join(fmt.Errorf("--cpuprofile: %w", err), to.Close())
	}
	err = f()
	pprof.StopCPUProfile()
	return errors.Join(err, to.Close())
}

// all runs the measurements and prints each figure as it is known.
func (b *bench) all(ctx context.Context, only []string) (err error) {
	chosen, err := choose(only)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(b.dir, "shardmill-bench-")
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b.dir = dir
	b.report = b.a.figurePrinter()
	for _, m := range chosen {
		b.a.say("measuring %s: %s", m.name, m.what)
		if err := m.run(b, ctx); err != nil {
			return fmt.Errorf("bench %s: %w", m.name, err)
		}
	}
	return nil
}

func choose(only []string) ([]measurement, error) {
	if len(only) == 0 {
		return measurements, nil
	}
	var chosen []measurement
	for _, name := range only {
		found := false
		for _, m := range measurements {
			if m.name == name {
				chosen, found = append(chosen, m), true
			}
		}
		if !found {
			return nil, usagef("--only is %q; it can name put, open, http, invoke, start, meter, deploy, latency, once, mapping, thousand, ten, isolate, kinesis and idle", name)
		}
	}
	return chosen, nil
}

// figurePrinter prints figures one by one: as JSON, or as lines under headings.
func (a *app) figurePrinter() func(figure) error {
	if a.output == outputJSON {
		return func(f figure) error { return a.printJSON(f) }
	}
	const line = "%-24s %14s %-10s %14s %8s  %-18s %s\n"
	headed := false
	return func(f figure) error {
		if !headed {
			headed = true
			fmt.Fprintf(a.out, line, "FIGURE", "VALUE", "UNIT", "BASELINE", "RATIO", "GOAL", "MET")
		}
		baseline, ratio, met := "", "", ""
		if f.Baseline != nil {
			baseline, ratio = roundNumber(*f.Baseline), roundNumber(*f.Ratio)
		}
		if f.Met != nil {
			met = map[bool]string{true: "yes", false: "no"}[*f.Met]
		}
		_, err := fmt.Fprintf(a.out, line, f.Name, roundNumber(f.Value), f.Unit, baseline, ratio, f.Goal, met)
		return err
	}
}

// roundNumber is x with as many digits as say something.
func roundNumber(x float64) string {
	switch {
	case x >= 1000 || x <= -1000:
		return thousands(int64(x + 0.5))
	case x >= 10:
		return strconv.FormatFloat(x, 'f', 1, 64)
	default:
		return strconv.FormatFloat(x, 'f', 3, 64)
	}
}

// span is how long one measurement takes.
func (b *bench) span(quick, full time.Duration) time.Duration {
	if b.quick {
		return quick
	}
	return full
}

func (b *bench) rounds(quick, full int) int {
	if b.quick {
		return quick
	}
	return full
}

// host starts a host in this process on a folder of its own.
func (b *bench) host(ctx context.Context, name string) (*host, error) {
	return startHost(ctx, hostConfig{
		dataDir: filepath.Join(b.dir, name), listen: freePort, adminListen: freePort, drain: defaultDrain,
		logger: slog.New(slog.NewTextHandler(b.a.err, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
}

// withHost runs f on a host in this process and stops it.
func (b *bench) withHost(ctx context.Context, name string, f func(*host) error) error {
	h, err := b.host(ctx, name)
	if err != nil {
		return err
	}
	return errors.Join(f(h), h.close(), os.RemoveAll(filepath.Join(b.dir, name)))
}
