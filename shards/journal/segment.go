package journal

import (
	"cmp"
	"fmt"
	"hash/crc32"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// stored is one record batch as it lies in a segment.
type stored struct {
	first   uint64
	arrival int64
	offset  uint32 // of the entry header
	size    uint32 // of entry header and body
	count   uint32
}

func (s stored) next() uint64 { return s.first + uint64(s.count) }

// span is one shard's part of one segment. The list of a segment that is written to is guarded by the
// journal's mutex; that of a sealed one never changes and may be dropped and loaded again.
type span struct {
	seg    *segment
	shard  uint32
	first  uint64
	next   uint64
	live   []stored
	sealed atomic.Pointer[[]stored]
	offset int64 // of the list in the footer
	n, crc uint32
}

// add notes a stored batch. The caller holds the journal's mutex or is opening the journal.
func (s *span) add(b stored) {
	if len(s.live) == 0 {
		s.first = b.first
	}
	s.live = append(s.live, b)
	s.next = b.next()
}

// find is the index of the first stored batch that ends above sequence.
func find(list []stored, sequence uint64) int {
	return sort.Search(len(list), func(i int) bool { return list[i].next() > sequence })
}

// segment is one file of the journal.
type segment struct {
	number   uint64
	path     string
	size     atomic.Int64 // of the file; what lies behind end is prepared
	end      int64        // of the last group
	tableEnd int64        // of the table, with which it begins
	limit    int64        // the size from which on the next segment is begun
	began    time.Time    // when it became the active one
	sealed   bool         // it has its footer; guarded by the journal's mutex once the journal is open
	poisoned bool         // a write or sync failed, or it is damaged; never written again
	arrivals arrivals
	last     groupLink // its last group
	spans    map[uint32]*span

	file    File // guarded by handles while sealed, the writer's before
	dropped bool // nobody opens it again; guarded by handles
}

// arrivals are the times at which a segment's groups were written, microseconds: the first, the last and the greatest, which is
// another than the last when the clock was set back. All are 0 when nothing is known.
type arrivals struct{ first, last, greatest int64 }

func (a *arrivals) note(t int64) {
	if a.first == 0 {
		a.first = t
	}
	a.last, a.greatest = t, max(a.greatest, t)
}

// groupLink is what a group says of the one before it.
type groupLink struct {
	number   uint64
	at       position
	checksum uint32
}

func segmentName(number uint64) string { return fmt.Sprintf("%016x.seg", number) }

func parseSegmentName(name string) (uint64, bool) {
	hex, ok := strings.CutSuffix(name, ".seg")
	if !ok || len(hex) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(hex, 16, 64)
	return n, err == nil && n > 0 && n < 1<<32 && segmentName(n) == name
}

// spanOf is the segment's span of a shard, made when missing and then added to the shard.
func (s *segment) spanOf(shard *shardState) *span {
	sp := s.spans[shard.id]
	if sp == nil {
		sp = &span{seg: s, shard: shard.id}
		s.spans[shard.id] = sp
		shard.spans = append(shard.spans, sp)
	}
	return sp
}

// footer is the index that ends a sealed segment, made from the spans' live lists.
func (s *segment) footer(seed uint32) []byte {
	spans := make([]*span, 0, len(s.spans))
	for _, sp := range s.spans {
		spans = append(spans, sp)
	}
	slices.SortFunc(spans, func(a, b *span) int { return cmp.Compare(a.shard, b.shard) })
	b := make([]byte, 0, len(spans)*(shardRowSize+storedSize)+trailerSize)
	for _, sp := range spans {
		from := len(b)
		for _, e := range sp.live {
			b = le.AppendUint64(b, e.first)
			b = le.AppendUint64(b, uint64(e.arrival))
			b = le.AppendUint32(b, e.offset)
			b = le.AppendUint32(b, e.size)
			b = le.AppendUint64(b, uint64(e.count))
		}
		sp.offset, sp.n, sp.crc = s.end+int64(from), uint32(len(sp.live)), crc32.Update(seed, castagnoli, b[from:])
	}
	rows := len(b)
	for _, sp := range spans {
		b = le.AppendUint32(b, sp.shard)
		b = le.AppendUint32(b, sp.n)
		b = le.AppendUint64(b, sp.first)
		b = le.AppendUint64(b, sp.next)
		b = le.AppendUint64(b, uint64(sp.offset))
		b = le.AppendUint32(b, sp.crc)
		b = le.AppendUint32(b, 0)
	}
	return s.appendTrailer(b, rows, len(spans), seed)
}

func (s *segment) appendTrailer(b []byte, rows, n int, seed uint32) []byte {
	rowsCRC := crc32.Update(seed, castagnoli, b[rows:])
	at := len(b)
	b = append(b, footerMagic...)
	b = le.AppendUint32(b, 0)
	b = le.AppendUint64(b, uint64(s.end))
	b = le.AppendUint64(b, uint64(s.end)+uint64(rows))
	b = le.AppendUint32(b, uint32(n))
	b = le.AppendUint32(b, rowsCRC)
	b = le.AppendUint64(b, uint64(s.arrivals.first))
	b = le.AppendUint64(b, uint64(s.arrivals.greatest))
	b = le.AppendUint64(b, s.last.number)
	b = le.AppendUint32(b, s.last.checksum)
	b = le.AppendUint32(b, uint32(s.last.at.offset()))
	le.PutUint32(b[at+4:], crc32.Update(seed, castagnoli, b[at+8:]))
	return b
}

// readFooter loads the rows of a sealed segment's index. It reports whether there is one that checks.
func (s *segment) readFooter(seed uint32) bool {
	size := s.size.Load()
	if size < segmentHeaderSize+trailerSize {
		return false
	}
	t := make([]byte, trailerSize)
	if _, err := s.file.ReadAt(t, size-trailerSize); err != nil {
		return false
	}
	if string(t[:4]) != footerMagic || le.Uint32(t[4:]) != crc32.Update(seed, castagnoli, t[8:]) {
		return false
	}
	end, at, n := int64(le.Uint64(t[8:])), int64(le.Uint64(t[16:])), int64(le.Uint32(t[24:]))
	if end < segmentHeaderSize || at < end || at+n*shardRowSize+trailerSize != size {
		return false
	}
	rows := make([]byte, n*shardRowSize)
	if _, err := s.file.ReadAt(rows, at); err != nil {
		return false
	}
	if le.Uint32(t[28:]) != crc32.Update(seed, castagnoli, rows) {
		return false
	}
	s.end, s.sealed = end, true
	s.arrivals = arrivals{int64(le.Uint64(t[32:])), int64(le.Uint64(t[40:])), int64(le.Uint64(t[40:]))}
	s.last = groupLink{le.Uint64(t[48:]), makePosition(s.number, int64(le.Uint32(t[60:]))), le.Uint32(t[56:])}
	for r := rows; len(r) > 0; r = r[shardRowSize:] {
		sp := &span{
			seg: s, shard: le.Uint32(r), n: le.Uint32(r[4:]), first: le.Uint64(r[8:]), next: le.Uint64(r[16:]),
			offset: int64(le.Uint64(r[24:])), crc: le.Uint32(r[32:]),
		}
		s.spans[sp.shard] = sp
	}
	return true
}

func decodeStored(b []byte) []stored {
	list := make([]stored, 0, len(b)/storedSize)
	for ; len(b) >= storedSize; b = b[storedSize:] {
		list = append(list, stored{
			first: le.Uint64(b), arrival: int64(le.Uint64(b[8:])),
			offset: le.Uint32(b[16:]), size: le.Uint32(b[20:]), count: le.Uint32(b[24:]),
		})
	}
	return list
}

// handles keeps the files and lists of the sealed segments that were used last.
type handles struct {
	fs FS

	mu   sync.Mutex
	used []*segment // most recent last
}

const maxHandles = 16

// keep opens a sealed segment's file when it is not open and notes that it is used. Error: errGone after drop.
func (h *handles) keep(s *segment) (File, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.dropped {
		return nil, errGone
	}
	if s.file == nil {
		f, err := h.fs.Open(s.path)
		if err != nil {
			return nil, err
		}
		s.file = f
	}
	if i := slices.Index(h.used, s); i >= 0 {
		h.used = slices.Delete(h.used, i, i+1)
	}
	h.used = append(h.used, s)
	if len(h.used) > maxHandles {
		h.release(h.used[0])
		h.used = slices.Delete(h.used, 0, 1)
	}
	return s.file, nil
}

// pin opens a segment's file when it is not open, and keeps it open.
func (h *handles) pin(s *segment) error {
	if _, err := h.keep(s); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.used = slices.DeleteFunc(h.used, func(u *segment) bool { return u == s })
	return nil
}

// keepOpened notes a segment whose file has just been opened.
func (h *handles) keepOpened(s *segment) {
	if _, err := h.keep(s); err != nil {
		return // its file is open: nothing was opened that could fail
	}
}

// release lets go of the segment's file and, where the footer has them, its lists. The caller holds h.mu.
// A reader that is just using the file gets its bytes or os.ErrClosed, and then opens it again.
func (h *handles) release(s *segment) error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	for _, sp := range s.spans {
		if sp.offset > 0 {
			sp.sealed.Store(nil)
		}
	}
	return err
}

// drop closes the segment's file for good.
func (h *handles) drop(s *segment) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if i := slices.Index(h.used, s); i >= 0 {
		h.used = slices.Delete(h.used, i, i+1)
	}
	s.dropped = true
	return h.release(s)
}
