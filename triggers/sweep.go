package triggers

import (
	"context"
	"regexp"
)

// checkpointOwner is what those are called in whose checkpoints a mapping, or a shadow, keeps where it is, and a shadow what it has found: see
// consumer and reporter.
var checkpointOwner = regexp.MustCompile(`^(mapping|shadow)/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// sweepCheckpoints deletes the checkpoints of mappings and shadows that are not defined. A crash leaves them when it comes between the checkpoints of what is
// made and its definition, or between the end of a definition and that of its checkpoints. Nobody may be changing definitions.
func (t *Triggers) sweepCheckpoints(ctx context.Context) {
	if t.opts.Leftovers == nil {
		return
	}
	kept := map[string]bool{}
	for _, r := range t.sorted() {
		def := r.stored()
		if def.ID == "" {
			return // whose they are is not known: its definition cannot be read
		}
		kept[def.consumer()] = true
		if def.Shadow != nil {
			reading := def.shadowed()
			kept[reading.consumer()], kept[def.Shadow.reporter()] = true, true
		}
	}
	n := 0
	err := t.opts.Leftovers.DeleteCheckpoints(ctx, func(consumer string) bool {
		left := checkpointOwner.MatchString(consumer) && !kept[consumer]
		if left {
			n++
		}
		return left
	})
	switch {
	case err != nil:
		t.opts.Logger.Warn("checkpoints of mappings and shadows that are gone could not be removed from their streams", "error", err)
	case n > 0:
		t.opts.Logger.Info("checkpoints of mappings and shadows that are gone were removed from their streams", "consumers", n)
	}
}
