package runtime

import (
	"bytes"
	"context"
	"encoding/binary"
	"maps"
	"slices"

	"github.com/shardmill/shardmill/internal/capsule"
	"github.com/shardmill/shardmill/sdk/abi"
)

// question is what a guest asks of the outside through a door: what it may ask, after its arguments have been read. The parts are views, good
// until the guest runs again.
type question struct {
	door  string
	parts [5][]byte // the first is the name of a secret or table, or a method, the second a key or URL
	n     int       // parts
}

func asked(door string, parts ...[]byte) (q question) {
	q.door, q.n = door, copy(q.parts[:], parts)
	return q
}

// keep is the question with parts of its own.
func (q *question) keep() (kept question, size int) {
	kept = *q
	for i, part := range q.parts[:q.n] {
		kept.parts[i] = append([]byte{}, part...)
		size += len(part)
	}
	return kept, size
}

func (q *question) digest(secrets map[string][]byte) []byte {
	return capsule.Digest(q.door, q.parts[:q.n], secrets)
}

// answer is the question as it stands in a capsule, without an answer.
func (q *question) answer(secrets map[string][]byte) capsule.Answer {
	a := capsule.Answer{Door: q.door, Asked: q.digest(secrets), Name: string(q.parts[0])}
	if q.n > 1 {
		a.Key = hidden(q.parts[1], secrets)
	}
	return a
}

// hidden is b without the values of secrets, in which it can be shown.
func hidden(b []byte, secrets map[string][]byte) []byte {
	left, cuts := capsule.CutOut(b, secrets)
	out, from := make([]byte, 0, len(left)), 0
	for _, c := range cuts {
		out = append(append(out, left[from:c.At]...), maskedText...)
		from = c.At
	}
	return append(out, left[from:]...)
}

// word is a number as a part of a question.
func word(n int64) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(n)) }

// headerPart is the header of a request as a part of a question.
func headerPart(r *abi.HTTPRequest) (part []byte) {
	for _, h := range r.Header {
		for _, s := range []string{h.Name, h.Value} {
			part = append(binary.AppendUvarint(part, uint64(len(s))), s...)
		}
	}
	return part
}

// ask has a question answered: by the world, or by what is played. The world may be asked for nothing before.
func (v *visit) ask(ctx context.Context, q question, world func() int64) int64 {
	s := v.senses
	if s.play != nil && s.play.answers != nil {
		return v.retell(ctx, s.play.answers, &q)
	}
	status := world()
	if q.door == abi.ImportSecret && status >= 0 {
		if v.known == nil {
			v.known = map[string][]byte{}
		}
		v.known[string(q.parts[0])] = v.result
	}
	if s.note != nil {
		s.note.add(&q, status, v.result, ctx.Err() != nil)
	}
	return status
}

// recording is what a call has read and been answered, for a capsule.
type recording struct {
	tape     *capsule.Tape // without the answers
	readings bool          // only what it reads is noted
	answers  []answered
	bytes    int
	full     bool              // there were more answers than are kept
	secrets  map[string][]byte // that the guest has, by name; set when the call has ended
}

// answered is a question with its answer. The result is the guest's, which only reads it.
type answered struct {
	question
	status int64
	result []byte
	over   bool
}

// answerCost is what one answer counts for beside its bytes.
const answerCost = 64

func (r *recording) add(q *question, status int64, result []byte, over bool) {
	if r.full || r.readings {
		return
	}
	kept, size := q.keep()
	r.bytes += size + len(result) + answerCost
	if len(r.answers) == capsule.MaxAnswers || r.bytes > capsule.MaxAnswerBytes {
		r.full = true
		return
	}
	r.answers = append(r.answers, answered{kept, status, result, over})
}

// end is called when the call has ended, with the secrets that its guest has been given by then.
func (r *recording) end(known map[string][]byte) {
	if r != nil {
		r.secrets = maps.Clone(known)
	}
}

// seal is the tape of a capsule: no value of a secret is on it.
func (r *recording) seal() capsule.Tape {
	t := *r.tape
	t.Cut = t.Cut || r.full
	t.Secrets = slices.Sorted(maps.Keys(r.secrets))
	for i := range r.answers {
		q := &r.answers[i]
		a := q.answer(r.secrets)
		a.Status, a.Over = q.status, q.over
		if q.door == abi.ImportSecret && q.status >= 0 {
			a.Status = 0
		} else {
			var left []byte
			left, a.Cuts = capsule.CutOut(q.result, r.secrets)
			a.Result = bytes.Clone(left)
		}
		t.Answers = append(t.Answers, a)
	}
	return t
}
