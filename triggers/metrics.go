package triggers

import "github.com/prometheus/client_golang/prometheus"

// metrics makes everything but the batch sizes from the mappings' status when it is scraped, so that an
// idle mapping costs nothing in between.
type metrics struct {
	mappings   interface{ List() []Status }
	batchSizes *prometheus.HistogramVec
}

var (
	descAge = prometheus.NewDesc("shardmill_mapping_iterator_age_seconds",
		"Age of the oldest record of the shard that the mapping has not settled.", []string{"mapping", "shard"}, nil)
	descInvocations = prometheus.NewDesc("shardmill_mapping_invocations_total",
		"Invocations by result: ok, partial, failed, throttled, refused.", []string{"mapping", "result"}, nil)
	descRecords = prometheus.NewDesc("shardmill_mapping_records_total",
		"Records by what became of them: polled (of these: filtered), delivered (each delivery counts), settled (of these: dropped, rejected), given_up, sent (to the on-failure destination), skipped.",
		[]string{"mapping", "outcome"}, nil)
	descEvents = prometheus.NewDesc("shardmill_mapping_events_total",
		"Records of a shard by Lambda's event counts, of mappings that ask for them: polled, filtered_out, invoked, failed_invoke, dropped, on_failure_delivered.",
		[]string{"mapping", "shard", "event"}, nil)
	descRetries = prometheus.NewDesc("shardmill_mapping_retries_total",
		"Deliveries of a batch beyond its first.", []string{"mapping"}, nil)
	descSaves = prometheus.NewDesc("shardmill_mapping_checkpoint_saves_total",
		"Checkpoints saved.", []string{"mapping"}, nil)
	descShards = prometheus.NewDesc("shardmill_mapping_shards",
		"Shards of the mapping by state.", []string{"mapping", "state"}, nil)
	descShadowResults = prometheus.NewDesc("shardmill_mapping_shadow_results_total",
		"Results that the mapping's shadow was compared by: same, changed, missing, extra.", []string{"mapping", "result"}, nil)
	descShadowCalls = prometheus.NewDesc("shardmill_mapping_shadow_calls_total",
		"Calls made for the comparison, of the serving version and of the shadow.", []string{"mapping", "side"}, nil)
	descShadowFailures = prometheus.NewDesc("shardmill_mapping_shadow_failures_total",
		"Of these, those that failed.", []string{"mapping", "side"}, nil)
	descShadowSeconds = prometheus.NewDesc("shardmill_mapping_shadow_seconds_total",
		"Time in the guest of calls made for the comparison.", []string{"mapping", "side"}, nil)
	descShadowFuel = prometheus.NewDesc("shardmill_mapping_shadow_fuel_total",
		"Instructions executed by calls made for the comparison, weighted.", []string{"mapping", "side"}, nil)
	descShadowAge = prometheus.NewDesc("shardmill_mapping_shadow_iterator_age_seconds",
		"Age of the oldest record of the shard that the mapping's shadow has not compared.", []string{"mapping", "shard"}, nil)
	descState = prometheus.NewDesc("shardmill_mapping_info",
		"1 for the state that the mapping is in.", []string{"mapping", "state"}, nil)
)

var shardStates = []ShardState{ShardWaiting, ShardRunning, ShardRetrying, ShardBlocked, ShardDamaged, ShardStopped, ShardEnded}

// newMetrics registers the metrics with reg, which may be nil.
func newMetrics(reg prometheus.Registerer, mappings interface{ List() []Status }) (*metrics, error) {
	m := &metrics{
		mappings: mappings,
		batchSizes: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "shardmill_mapping_batch_records",
			Help:    "Records per invocation.",
			Buckets: []float64{1, 3, 10, 30, 100, 300, 1000, 3000, 10000},
		}, []string{"mapping"}),
	}
	if reg == nil {
		return m, nil
	}
	if err := reg.Register(m); err != nil {
		return nil, err
	}
	return m, nil
}

func (m *metrics) unregister(reg prometheus.Registerer) {
	if reg != nil {
		reg.Unregister(m)
	}
}

// forget drops what is kept of a mapping that has been deleted.
func (m *metrics) forget(mapping string) { m.batchSizes.DeleteLabelValues(mapping) }

// Describe is a prometheus.Collector's.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descAge, descInvocations, descRecords, descEvents, descRetries, descSaves, descShards, descState,
		descShadowResults, descShadowCalls, descShadowFailures, descShadowSeconds, descShadowFuel, descShadowAge,
	} {
		ch <- d
	}
	m.batchSizes.Describe(ch)
}

// Collect is a prometheus.Collector's.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	for _, s := range m.mappings.List() {
		collectStatus(ch, &s)
		collectShadow(ch, s.Name, s.Shadow)
	}
	m.batchSizes.Collect(ch)
}

// collectShadow tells of a mapping's shadow, if it has one. Its counts outlive a restart, and begin anew with another shadow.
func collectShadow(ch chan<- prometheus.Metric, mapping string, s *ShadowStatus) {
	if s == nil {
		return
	}
	counter := func(d *prometheus.Desc, v float64, label string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, mapping, label)
	}
	counter(descShadowResults, float64(s.Same), "same")
	counter(descShadowResults, float64(s.Changed), "changed")
	counter(descShadowResults, float64(s.Missing), "missing")
	counter(descShadowResults, float64(s.Extra), "extra")
	for name, side := range map[string]*Side{"serving": &s.Serving, "shadow": &s.Candidate} {
		counter(descShadowCalls, float64(side.Calls), name)
		counter(descShadowFailures, float64(side.Failed), name)
		counter(descShadowSeconds, side.Duration.Seconds(), name)
		counter(descShadowFuel, float64(side.Fuel), name)
	}
	for i := range s.Shards {
		ch <- prometheus.MustNewConstMetric(descShadowAge, prometheus.GaugeValue, s.Shards[i].IteratorAge.Seconds(), mapping, s.Shards[i].Shard.String())
	}
}

func collectStatus(ch chan<- prometheus.Metric, s *Status) {
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), append([]string{s.Name}, labels...)...)
	}
	gauge := func(d *prometheus.Desc, v float64, label string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, s.Name, label)
	}
	c := s.Counts()
	counter(descInvocations, c.OK, string(ResultOK))
	counter(descInvocations, c.Partial, string(ResultPartial))
	counter(descInvocations, c.Failed, string(ResultFailed))
	counter(descInvocations, c.Throttled, string(ResultThrottled))
	counter(descInvocations, c.Refused, string(ResultRefused))
	counter(descRecords, c.Polled, "polled")
	counter(descRecords, c.Filtered, "filtered")
	counter(descRecords, c.Delivered, "delivered")
	counter(descRecords, c.Settled, "settled")
	counter(descRecords, c.Dropped, "dropped")
	counter(descRecords, c.Rejected, "rejected")
	counter(descRecords, c.GivenUp, "given_up")
	counter(descRecords, c.Sent, "sent")
	counter(descRecords, c.Skipped, "skipped")
	counter(descRetries, c.Retries)
	counter(descSaves, c.Saves)
	if s.EventCounts && s.State != Disabled {
		for i := range s.Shards {
			for event, n := range s.Shards[i].Counts.events() {
				counter(descEvents, n, s.Shards[i].Shard.String(), event)
			}
		}
	}
	gauge(descState, 1, string(s.State))
	states := map[ShardState]int{}
	for i := range s.Shards {
		states[s.Shards[i].State]++
		gauge(descAge, s.Shards[i].IteratorAge.Seconds(), s.Shards[i].Shard.String())
	}
	for _, state := range shardStates {
		gauge(descShards, float64(states[state]), string(state))
	}
}
