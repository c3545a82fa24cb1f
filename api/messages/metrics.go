package messages

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shardmill/shardmill/shards"
)

// metrics are those of all doors.
type metrics struct {
	registerer prometheus.Registerer
	all        []prometheus.Collector

	messages, bytes, records, failures *prometheus.CounterVec
	mqttClients                        prometheus.Gauge
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	m := &metrics{registerer: registerer}
	counter := func(name, help string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"door"})
		m.all = append(m.all, v)
		return v
	}
	m.messages = counter("shardmill_door_messages_total", "Messages received, by door.")
	m.bytes = counter("shardmill_door_bytes_total", "Bytes of the payloads of messages received, by door.")
	m.records = counter("shardmill_door_records_total", "Records that doors have put on disk, by door.")
	m.failures = counter("shardmill_door_failures_total", "Messages of which at least one record was not put, by door.")
	m.mqttClients = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "shardmill_mqtt_clients", Help: "MQTT clients that are connected.",
	})
	m.all = append(m.all, m.mqttClients)
	if registerer != nil {
		registerer.MustRegister(m.all...)
	}
	return m
}

// unregister takes the metrics back, so that other doors can register theirs.
func (m *metrics) unregister() {
	if m.registerer != nil {
		for _, c := range m.all {
			m.registerer.Unregister(c)
		}
	}
}

// doorMetrics are those of one door.
type doorMetrics struct {
	messages, bytes, records, failures prometheus.Counter
}

func (m *metrics) door(name string) doorMetrics {
	return doorMetrics{
		messages: m.messages.WithLabelValues(name), bytes: m.bytes.WithLabelValues(name),
		records: m.records.WithLabelValues(name), failures: m.failures.WithLabelValues(name),
	}
}

func (m *doorMetrics) received(bytes int) {
	m.messages.Inc()
	m.bytes.Add(float64(bytes))
}

// settled counts what became of one message, and returns how many of its records were put.
func (m *doorMetrics) settled(results []shards.Result) (put int) {
	for i := range results {
		if results[i].Err == nil {
			put++
		}
	}
	if put > 0 {
		m.records.Add(float64(put))
	}
	if put < len(results) || put == 0 {
		m.failures.Inc()
	}
	return put
}
