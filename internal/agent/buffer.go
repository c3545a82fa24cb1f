package agent

import (
	"crypto/md5"
	"encoding/hex"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"
)

// entry is one record on its way.
type entry struct {
	data []byte
	key  string // "" for a delivery stream
}

// buffer is what becomes one request, and how far the files have been read when it is acknowledged.
type buffer struct {
	records []entry
	bytes   int       // of data and keys
	born    time.Time // when the first record, or mark, was added
	marks   map[fileID]position
}

func (b *buffer) empty() bool { return len(b.marks) == 0 }

// add takes a record in, cut to what the destination takes. data becomes the buffer's.
func (b *buffer) add(f *Flow, data []byte) {
	key := ""
	switch {
	case f.Firehose:
	case f.Random:
		key = strconv.FormatFloat(rand.Float64()*1e6, 'g', -1, 64)
	default:
		sum := md5.Sum(data)
		key = hex.EncodeToString(sum[:])
	}
	if most := f.maxRecord(key); len(data) > most {
		data = append(data[:most-len(f.terminator)], f.terminator...)
	}
	b.records = append(b.records, entry{data, key})
	b.bytes += len(data) + len(key)
}

// room tells whether a record of so many bytes may be added. The first always may.
func (b *buffer) room(f *Flow, size int) bool {
	const key = 32
	return len(b.records) == 0 || len(b.records) < f.MaxRecords && b.bytes+size+key <= f.MaxBytes
}

// mark notes that everything of a file before the position is in this buffer, or in one before it, or is left out.
func (b *buffer) mark(pos position) {
	if b.empty() {
		b.marks, b.born = map[fileID]position{}, time.Now()
	}
	b.marks[pos.fileID] = pos
}

// counts are a flow's totals since the agent was started.
type counts struct {
	read, sent, bytes, skipped, unconverted, cut atomic.Int64 // records, but for bytes, which are of data sent
	requests, failures                           atomic.Int64 // requests, and those that failed in whole or in part
	files                                        atomic.Int64 // followed now
}

// list is for the log.
func (c *counts) list() []any {
	all := []any{"files", c.files.Load(), "records_read", c.read.Load(), "records_sent", c.sent.Load(), "bytes_sent", c.bytes.Load(),
		"requests", c.requests.Load(), "requests_failed", c.failures.Load()}
	for name, n := range map[string]int64{
		"records_left_out": c.skipped.Load(), "records_not_converted": c.unconverted.Load(), "records_cut": c.cut.Load(),
	} {
		if n > 0 {
			all = append(all, name, n)
		}
	}
	return all
}
