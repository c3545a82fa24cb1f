package runtime

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Outcomes of an invocation besides the kinds of FunctionError.
const (
	outcomeOK        = "ok"
	outcomeThrottled = "throttled"
	outcomeCanceled  = "canceled"
	outcomeHost      = "host_error"
)

var outcomes = []string{
	outcomeOK, outcomeThrottled, outcomeCanceled, outcomeHost,
	string(FailError), string(FailTrap), string(FailTimeout), string(FailFuel), string(FailMemory), string(FailExit),
	string(FailMalformed), string(FailDenied), string(FailRefused), string(FailConflict),
}

// metrics are the runtime's own; those of a function are made once and kept with it.
type metrics struct {
	invocations *prometheus.CounterVec
	duration    *prometheus.HistogramVec
	fuel        *prometheus.CounterVec
	records     *prometheus.CounterVec
	emitted     *prometheus.CounterVec
	logsDropped *prometheus.CounterVec
	discarded   *prometheus.CounterVec
	denied      *prometheus.CounterVec
	doors       *prometheus.CounterVec
	doorSeconds *prometheus.HistogramVec
	compile     prometheus.Histogram
	start       prometheus.Histogram
	starts      *prometheus.CounterVec
}

func newMetrics() *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "shardmill", Subsystem: "function", Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Namespace: "shardmill", Subsystem: "function", Name: name, Help: help, Buckets: buckets}
	}
	return &metrics{
		invocations: counter("invocations_total", "Invocations, by what came of them.", "function", "outcome"),
		duration: prometheus.NewHistogramVec(histogram("duration_seconds", "Time in the guest.",
			prometheus.ExponentialBuckets(25e-6, 4, 12)), []string{"function"}),
		fuel:        counter("fuel_total", "Instructions that functions executed, weighted: what they cost in processor time.", "function"),
		records:     counter("records_total", "Records that functions were given.", "function"),
		emitted:     counter("emitted_records_total", "Records that functions put to streams.", "function"),
		logsDropped: counter("log_lines_dropped_total", "Log lines over the limits of an invocation.", "function"),
		discarded:   counter("instances_discarded_total", "Instances thrown away after a failure or for their memory.", "function"),
		denied:      counter("denied_total", "Calls of the host that the configuration did not grant, by what was called.", "function", "door"),
		doors:       counter("door_calls_total", "Calls of the host's functions for secrets, state and HTTP, by what came of them.", "function", "door", "outcome"),
		doorSeconds: prometheus.NewHistogramVec(histogram("door_seconds", "Time that functions waited for the host's functions for secrets, state and HTTP.",
			prometheus.ExponentialBuckets(1e-6, 8, 9)), []string{"function", "door"}),
		compile: prometheus.NewHistogram(histogram("compile_seconds", "Time to compile a version or to take it from the cache.",
			prometheus.ExponentialBuckets(1e-3, 2, 16))),
		start: prometheus.NewHistogram(histogram("instance_start_seconds", "Time to make an instance.",
			prometheus.ExponentialBuckets(12.5e-6, 2, 19))),
		starts: counter("starts_total", "Instances that were made, from a snapshot or plainly.", "function", "start"),
	}
}

func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.invocations, m.duration, m.fuel, m.records, m.emitted, m.logsDropped, m.discarded, m.denied, m.doors, m.doorSeconds, m.starts, m.compile, m.start}
}

// functionMetrics are one function's handles, so that a call looks nothing up.
type functionMetrics struct {
	ok          prometheus.Counter // invocations that succeeded
	invocations map[string]prometheus.Counter
	duration    prometheus.Observer
	fuel        prometheus.Counter
	records     prometheus.Counter
	emitted     prometheus.Counter
	logsDropped prometheus.Counter
	discarded   prometheus.Counter
	starts      map[Start]prometheus.Counter
	denied      func(door string)
	passed      func(door, outcome string, took time.Duration)
}

func (m *metrics) function(name string) *functionMetrics {
	f := &functionMetrics{
		invocations: map[string]prometheus.Counter{},
		duration:    m.duration.WithLabelValues(name),
		fuel:        m.fuel.WithLabelValues(name),
		records:     m.records.WithLabelValues(name),
		emitted:     m.emitted.WithLabelValues(name),
		logsDropped: m.logsDropped.WithLabelValues(name),
		discarded:   m.discarded.WithLabelValues(name),
		starts:      map[Start]prometheus.Counter{},
		denied:      func(door string) { m.denied.WithLabelValues(name, door).Inc() },
	}
	f.passed = func(door, outcome string, took time.Duration) {
		m.doors.WithLabelValues(name, door, outcome).Inc()
		m.doorSeconds.WithLabelValues(name, door).Observe(took.Seconds())
	}
	for _, start := range []Start{StartSnapshot, StartPlain} {
		f.starts[start] = m.starts.WithLabelValues(name, string(start))
	}
	for _, outcome := range outcomes {
		f.invocations[outcome] = m.invocations.WithLabelValues(name, outcome)
	}
	f.ok = f.invocations[outcomeOK]
	return f
}

// started counts an instance that was made. Of a trial, which has no metrics, it counts nothing.
func (f *functionMetrics) started(from *snapshot) {
	switch {
	case f == nil:
	case from == nil:
		f.starts[StartPlain].Inc()
	default:
		f.starts[StartSnapshot].Inc()
	}
}

// forget removes a deleted function's series.
func (m *metrics) forget(name string) {
	label := prometheus.Labels{"function": name}
	for _, v := range []*prometheus.CounterVec{m.invocations, m.fuel, m.records, m.emitted, m.logsDropped, m.discarded, m.denied, m.doors, m.starts} {
		v.DeletePartialMatch(label)
	}
	m.duration.DeletePartialMatch(label)
	m.doorSeconds.DeletePartialMatch(label)
}

// observe counts one invocation, which was given so many records.
func (f *functionMetrics) observe(err error, reply *Reply, records int) {
	if err == nil {
		f.ok.Inc()
	} else {
		f.invocations[outcomeOf(err)].Inc()
	}
	if reply.Duration > 0 { // it has been in the guest
		f.duration.Observe(reply.Duration.Seconds())
		f.fuel.Add(float64(reply.Fuel))
		f.records.Add(float64(records))
	}
	if reply.Emitted > 0 {
		f.emitted.Add(float64(reply.Emitted))
	}
}

func outcomeOf(err error) string {
	var failed *FunctionError
	switch {
	case errors.As(err, &failed):
		return string(failed.Kind)
	case errors.Is(err, ErrThrottled):
		return outcomeThrottled
	case errors.Is(err, errCanceled):
		return outcomeCanceled
	}
	return outcomeHost
}

// Describe and Collect make the runtime a collector of what it has at the time of asking.
func (c *gauges) Describe(to chan<- *prometheus.Desc) {
	to <- c.instances
	to <- c.memory
	to <- c.idle
	to <- c.programs
	to <- c.images
}

// gauges counts instances when it is asked to.
type gauges struct {
	rt                                        *Runtime
	instances, programs, memory, idle, images *prometheus.Desc
}

func newGauges(rt *Runtime) *gauges {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("shardmill_function_"+name, help, []string{"function"}, nil)
	}
	return &gauges{
		rt:        rt,
		instances: desc("instances", "Instances that exist."),
		memory:    desc("memory_bytes", "Linear memory of the instances that exist."),
		programs:  desc("programs", "Versions whose compiled code is in memory."),
		idle:      desc("idle_memory_bytes", "Linear memory of the instances that wait for a call."),
		images:    desc("snapshot_bytes", "Memory that the snapshots hold with which instances begin."),
	}
}

// Collect implements prometheus.Collector.
func (c *gauges) Collect(to chan<- prometheus.Metric) {
	for _, f := range c.rt.all() {
		var n int
		var bytes, idle uint64
		images, programs := 0, 0
		for _, v := range f.versions {
			count, size := v.usage()
			n += count
			bytes += size
			idle += v.idleBytes()
			_, _, held := v.code.start()
			images += held
			if v.code.loaded() {
				programs++
			}
		}
		to <- prometheus.MustNewConstMetric(c.instances, prometheus.GaugeValue, float64(n), f.name)
		to <- prometheus.MustNewConstMetric(c.memory, prometheus.GaugeValue, float64(bytes), f.name)
		to <- prometheus.MustNewConstMetric(c.programs, prometheus.GaugeValue, float64(programs), f.name)
		to <- prometheus.MustNewConstMetric(c.idle, prometheus.GaugeValue, float64(idle), f.name)
		to <- prometheus.MustNewConstMetric(c.images, prometheus.GaugeValue, float64(images), f.name)
	}
}
