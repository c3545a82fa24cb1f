package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"unicode/utf8"

	"github.com/go-chi/chi/v5"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/shardmill/shardmill/internal/state"
)

// headerRevision has the revision of an entry that is read.
const headerRevision = "Shardmill-Revision"

const (
	// maxEntryLine bounds a line of what is loaded: a value of 1 MiB with every byte escaped, and its key.
	maxEntryLine = 6*state.MaxValueBytes + 8<<10
	// What is loaded is made durable in pieces of this size, each whole or not at all.
	loadKeys  = 1000
	loadBytes = 2 << 20
)

// tableQuery says which table of a name is meant.
type tableQuery struct {
	Function string `query:"function" doc:"The function whose own table it is; left out, it is the shared table."`
	Mapping  string `query:"mapping" doc:"With function: the mapping that it is for; left out, it is the table of direct invocations."`
	Shard    int    `query:"shard" minimum:"0" doc:"With mapping: the number of the shard that it is for."`
}

// table is the table that a request is about. One of a function that is not there is refused, so that nothing is stored that nobody would ever delete.
func (c *call) table(q *tableQuery) (t state.Table, err error) {
	t = state.Table{Name: c.name(), Shared: q.Function == "", Function: q.Function, Mapping: q.Mapping, Shard: uint32(q.Shard)}
	if err := state.CheckName(t.Name); err != nil {
		return t, err
	}
	switch {
	case t.Shared && q.Mapping != "":
		return t, faulty("mapping", "is given without function", "left out, or with function")
	case q.Mapping == "" && q.Shard != 0:
		return t, faulty("shard", "is given without mapping", "left out, or with mapping")
	case q.Shard < 0 || q.Shard > 1<<31:
		return t, invalidField("shard", strconv.Itoa(q.Shard), "the number of a shard")
	case t.Shared:
		return t, nil
	}
	if _, err := c.functions.Get(q.Function); err != nil {
		return t, err
	}
	if q.Mapping != "" {
		m, err := c.mappings.Get(q.Mapping)
		if err != nil {
			return t, err
		}
		if m.Function != q.Function {
			return t, invalidField("mapping", q.Mapping, "a mapping of function "+q.Function)
		}
	}
	return t, nil
}

// key is the {key} of the path.
func (c *call) key() string {
	key := chi.URLParam(c.r, "key")
	if c.r.URL.RawPath == "" {
		return key
	}
	if plain, err := url.PathUnescape(key); err == nil {
		return plain
	}
	return key
}

// noEntry is the problem of a key that a table does not have.
func noEntry(t state.Table, key string) *Problem {
	p := problem(KindEntryNotFound, "").because(fmt.Sprintf("State table %s has no key %s.", t, quote(key)), "GET /v1/state/{name}/entries lists its keys.")
	p.Field, p.Value, p.Limit = "key", cut(key), "the key of an entry"
	return p
}

// entriesQuery is the query of a list of entries.
type entriesQuery struct {
	tableQuery
	Prefix string `query:"prefix" doc:"Only keys that begin with this."`
	After  string `query:"after" doc:"Only keys behind this one."`
	Limit  int    `query:"limit" minimum:"0" maximum:"1000" doc:"The most entries; 1,000 when left out."`
}

// listEntries is GET /v1/state/{name}/entries.
func (c *call) listEntries(q *entriesQuery) (*StateEntryList, error) {
	t, err := c.table(&q.tableQuery)
	if err != nil {
		return nil, err
	}
	if q.Limit < 0 || q.Limit > state.MaxList {
		return nil, invalidField("limit", strconv.Itoa(q.Limit), fmt.Sprintf("0 to %d", state.MaxList))
	}
	entries, more, err := c.state.Begin().List(t, q.Prefix, q.After, q.Limit)
	if err != nil {
		return nil, err
	}
	list := &StateEntryList{Entries: make([]StateEntry, len(entries)), More: more}
	for i, e := range entries {
		out := &list.Entries[i]
		if out.Revision = e.Revision; utf8.ValidString(e.Key) {
			out.Key = e.Key
		} else {
			out.KeyData = []byte(e.Key)
		}
		out.JSON, out.Text, out.Data = shown(e.Value)
	}
	return list, nil
}

// getEntry is GET /v1/state/{name}/entries/{key}.
func (c *call) getEntry(q *tableQuery) error {
	t, err := c.table(q)
	if err != nil {
		return err
	}
	e, found, err := c.state.Begin().Get(t, c.key())
	if err != nil {
		return err
	}
	if !found {
		return noEntry(t, c.key())
	}
	c.w.Header().Set("Content-Type", bodyType(e.Value))
	c.w.Header().Set("X-Content-Type-Options", "nosniff")
	c.w.Header().Set(headerRevision, strconv.FormatInt(e.Revision, 10))
	_, err = c.w.Write(e.Value)
	return err
}

// changeQuery is the query of a change of one entry.
type changeQuery struct {
	tableQuery
	Expected string `query:"expected" pattern:"^[0-9]{1,19}$" doc:"The revision that the entry must have, 0 for none: else nothing is changed. Left out, it may be any."`
}

func (q *changeQuery) expected() (int64, error) {
	if q.Expected == "" {
		return state.Any, nil
	}
	n, err := strconv.ParseInt(q.Expected, 10, 64)
	if err != nil || n < 0 {
		return 0, invalidField("expected", q.Expected, "a revision, or 0 for an entry that must not be there")
	}
	return n, nil
}

// putEntry is PUT /v1/state/{name}/entries/{key}. The body is the value, as it is, of whatever media type.
func (c *call) putEntry(q *changeQuery) error {
	t, err := c.table(&q.tableQuery)
	if err != nil {
		return err
	}
	expected, err := q.expected()
	if err != nil {
		return err
	}
	value, err := c.readBody(state.MaxValueBytes)
	if err != nil {
		return err
	}
	b := c.state.Begin()
	if _, err := b.Put(t, c.key(), value, expected); err != nil {
		return err
	}
	if err := b.Commit(); err != nil {
		return err
	}
	return writeJSON(c.w, 200, &StoredEntry{Revision: b.Revision(), Bytes: len(value)})
}

// deleteEntry is DELETE /v1/state/{name}/entries/{key}.
func (c *call) deleteEntry(q *changeQuery) error {
	t, err := c.table(&q.tableQuery)
	if err != nil {
		return err
	}
	expected, err := q.expected()
	if err != nil {
		return err
	}
	b := c.state.Begin()
	// One that is damaged is found, too: deleting it is what mends that.
	if _, found, err := b.Get(t, c.key()); err == nil && !found && expected <= 0 {
		return noEntry(t, c.key())
	} else if err != nil && !errors.Is(err, state.ErrDamaged) {
		return err
	}
	if err := b.Delete(t, c.key(), expected); err != nil {
		return err
	}
	return b.Commit()
}

// loadQuery is the query of a load.
type loadQuery struct {
	tableQuery
	Key string `query:"key" example:"/iata" doc:"The JSON pointer to each line's key, a string, number, true or false: the line is the value. Left out, each line is an entry as in the list of entries: its key, and its value as json, text or data."`
}

// loadEntries is POST /v1/state/{name}/entries.
func (c *call) loadEntries(q *loadQuery) error {
	t, err := c.table(&q.tableQuery)
	if err != nil {
		return err
	}
	if err := c.needMediaType(typeLines); err != nil {
		return err
	}
	path, bad := parsePointer(q.Key)
	if bad != nil {
		return bad
	}
	stopped, release := c.untilStop(c.context())
	defer release()
	body := c.guard(c.r.Body, c.limits.LinesIdle, stopped)
	l := &load{to: c.state, table: t, keys: linePut{path: path}, reader: newLineReader(body, maxEntryLine, c.r.ContentLength), batch: c.state.Begin()}
	if err := l.run(); err != nil {
		return l.broken(err)
	}
	body.finish()
	return writeJSON(c.w, 200, &LoadedEntries{Loaded: l.stored})
}

// load is a load under way.
type load struct {
	to     State
	table  state.Table
	keys   linePut // whose pointer finds the keys
	reader *lineReader
	batch  *state.Batch
	lines  int64 // in the batch
	bytes  int   // of them
	stored int64 // lines on disk
}

// run reads the body to its end.
func (l *load) run() error {
	for {
		readErr := l.reader.fill()
		for {
			line, state := l.reader.take()
			if state == lineNone {
				break
			}
			if err := l.line(line, state); err != nil {
				return err
			}
		}
		switch {
		case readErr == io.EOF:
			if line, state := l.reader.last(); state != lineNone {
				if err := l.line(line, state); err != nil {
					return err
				}
			}
			return l.flush()
		case readErr != nil:
			return readErr
		}
	}
}

// broken is the problem of a load that ended early: it says how much of it is on disk, all of it from the beginning.
func (l *load) broken(err error) error {
	p := *problemOf(err)
	reason := p.Reason
	if reason == "" {
		reason = p.Detail
	}
	return p.because(fmt.Sprintf("%s The first %d entries are stored.", reason, l.stored), "Loading all again is safe.")
}

// line puts one line's entry into the batch.
func (l *load) line(line []byte, whole lineState) error {
	at := func(bad *Problem) error {
		named := *bad
		return named.because(fmt.Sprintf("Line %d: %s", l.reader.number, bad.Detail), "")
	}
	if whole == lineTooLong {
		return at(faulty("line", fmt.Sprintf("is longer than %d bytes", maxEntryLine), "an entry of a value of at most 1 MiB"))
	}
	if len(bytes.TrimLeft(line, " \t\r")) == 0 {
		return nil
	}
	key, value, bad := l.entry(line)
	if bad != nil {
		return at(bad)
	}
	if l.lines > 0 && (l.lines == loadKeys || l.bytes+len(key)+len(value) > loadBytes) {
		if err := l.flush(); err != nil {
			return err
		}
	}
	if _, err := l.batch.Put(l.table, string(key), value, state.Any); err != nil {
		return at(problemOf(err))
	}
	l.lines, l.bytes = l.lines+1, l.bytes+len(key)+len(value)
	return nil
}

// entry is the key and the value of a line.
func (l *load) entry(line []byte) (key, value []byte, bad *Problem) {
	if l.keys.path.text != "" {
		found, ok := l.keys.scanner.scan(line, l.keys.path.tokens)
		if !ok {
			return nil, nil, problem(KindMalformedLine, "It is not valid JSON in UTF-8 at byte %d.", l.keys.scanner.i+1)
		}
		key, bad := l.keys.keyOf(line, found)
		return key, line, bad
	}
	var m entryMembers
	if err := decodeJSON(line, &m); err != nil {
		return nil, nil, problemOf(err)
	}
	if (m.Key == "") == (len(m.KeyData) == 0) {
		return nil, nil, faulty("key", "is missing, or keyData is given as well", "exactly one of key and keyData")
	}
	forms := putMembers{Data: m.Data, Text: m.Text, JSON: m.JSON}
	value, bad = forms.data()
	return append([]byte(m.Key), m.KeyData...), value, bad
}

// entryMembers is StateEntry as it is decoded: a member that is absent is nil. A test holds the two alike.
type entryMembers struct {
	Key      string         `json:"key"`
	KeyData  []byte         `json:"keyData"`
	Revision int64          `json:"revision"`
	JSON     jsontext.Value `json:"json"`
	Text     jsontext.Value `json:"text"`
	Data     jsontext.Value `json:"data"`
}

// flush makes the batch durable.
func (l *load) flush() error {
	if err := l.batch.Commit(); err != nil {
		return err
	}
	l.stored, l.lines, l.bytes, l.batch = l.stored+l.lines, 0, 0, l.to.Begin()
	return nil
}
