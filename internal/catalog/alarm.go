package catalog

import (
	"log/slog"
	"slices"
	"sync"
	"time"
)

// AlarmKind says what an alarm is about. It is the label "kind" of the metric
// shardmill_catalog_alarms_total.
type AlarmKind string

// The kinds of alarms.
const (
	// AlarmJetStreamRestored: JetStream came back with less than was acknowledged, or
	// could not be read; nothing is lost.
	AlarmJetStreamRestored AlarmKind = "jetstream_restored"
	// AlarmSnapshotDamaged: the snapshot file was damaged or missing and was made
	// anew from JetStream.
	AlarmSnapshotDamaged AlarmKind = "snapshot_damaged"
	// AlarmDamageAccepted: both copies were damaged and Options.AcceptDamage was set.
	// Lost names what is known to be lost or doubtful.
	AlarmDamageAccepted AlarmKind = "damage_accepted"
	// AlarmBlobRestored: one of a blob's two copies was damaged or missing and was
	// made anew from the other.
	AlarmBlobRestored AlarmKind = "blob_restored"
	// AlarmBlobLost: both copies of a blob are damaged or missing.
	AlarmBlobLost AlarmKind = "blob_lost"
)

var alarmKinds = []AlarmKind{AlarmJetStreamRestored, AlarmSnapshotDamaged, AlarmDamageAccepted, AlarmBlobRestored, AlarmBlobLost}

// Alarm is damage that the catalog found. An operator should look at the disk.
type Alarm struct {
	Time   time.Time
	Kind   AlarmKind
	Detail string   // one sentence: which file or stream, what was found, what was done
	Lost   []string // what JetStream had lost, one sentence each; restored unless the kind says otherwise
}

// alarmBell keeps the alarms and tells the log and the metrics of them.
type alarmBell struct {
	log     *slog.Logger
	metrics *metrics

	mu   sync.Mutex
	list []Alarm
}

// maxLogged bounds how many losses one log line names.
const maxLogged = 20

func (b *alarmBell) ring(a Alarm) {
	a.Time = time.Now()
	b.metrics.alarms.WithLabelValues(string(a.Kind)).Inc()
	b.log.Error("catalog damage", "kind", string(a.Kind), "detail", a.Detail,
		"lostCount", len(a.Lost), "lost", a.Lost[:min(len(a.Lost), maxLogged)])
	b.mu.Lock()
	b.list = append(b.list, a)
	b.mu.Unlock()
}

func (b *alarmBell) all() []Alarm {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.list)
}
