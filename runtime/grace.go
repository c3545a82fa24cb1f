package runtime

import (
	"regexp"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/shardmill/shardmill/runtime/quickjs"
)

// graceTime is how long a script that is to stop has to come to a place where the engine can tell its stack. It is there within microseconds unless it is in
// something of the engine's own that takes long.
const graceTime = 5 * time.Millisecond

// grace is what a script gets when it is to stop: the engine is asked to stop it, which tells where it is. Whether it does or not, the
// call has failed, and the meter stops what goes on after that.
type grace struct {
	script bool
	until  time.Time // zero: it was not asked
	told   uint32    // where in memory the engine tells the stack; 0: nowhere
	over   bool      // it did not come to a place where it would tell it by itself
}

// halt stops a guest that has called the host, or, where it can tell its stack, has it come to the meter at once. The watch has ended.
func (w *watch) halt() {
	if w.counter == nil || !w.grace.script || !w.overdrawn() {
		panic(errStopped)
	}
	if w.grace.until.IsZero() {
		w.grant(-1)
	}
}

// stopAt stops a guest that has come to the meter after the watch has ended: by a panic with errStopped, at once or when its grace is over. A slice of
// fuel is given in any case, so that a busy machine leaves enough; and where it is fuel that has run out, no more than that, so that equal runs use as much.
func (w *watch) stopAt(guest api.Module, now time.Time) {
	g := &w.grace
	if !g.script || !w.overdrawn() || g.over {
		panic(errStopped)
	}
	w.grant(maxSlice)
	switch {
	case g.until.IsZero():
		g.until = now.Add(graceTime)
		if g.told = ask(w, guest, quickjs.ExportInterrupt); g.told != 0 {
			return
		}
	case w.cause() == stopTimeout && now.Before(g.until):
		return
	default:
		g.over = true
		ask(w, guest, quickjs.ExportWhere)
	}
	panic(errStopped)
}

// ask calls a function of the engine within the call that it is at. The result is 0 where it has none, or where it is not there.
func ask(w *watch, guest api.Module, name string) uint32 {
	f := guest.ExportedFunction(name)
	if f == nil {
		return 0
	}
	result, err := f.Call(w)
	if err != nil || len(result) != 1 {
		return 0
	}
	return api.DecodeU32(result[0])
}

// maxToldBytes bounds a stack that is read.
const maxToldBytes = 64 << 10

// lastPlace is where a script was when it was stopped, as a stack for its author; "" where the engine has not come to tell it.
func (i *instance) lastPlace() string {
	if i.watch.grace.told == 0 || i.module == nil {
		return ""
	}
	memory := i.module.Memory()
	at, _ := memory.ReadUint32Le(i.watch.grace.told)
	size, _ := memory.ReadUint32Le(i.watch.grace.told + 4)
	told, _ := memory.Read(at, min(size, maxToldBytes))
	return quickjs.Readable(i.program.input, text(told))
}

var scriptPlace = regexp.MustCompile(`[^\s(]+:\d+:\d+`)

// where is, for a failure that has no place in its message, " at " the innermost place of a script's stack; "" where there is none.
func (e *FunctionError) where() string {
	place := scriptPlace.FindString(e.Stack)
	if place == "" || e.Kind != FailTimeout && e.Kind != FailFuel {
		return ""
	}
	return " at " + place
}
