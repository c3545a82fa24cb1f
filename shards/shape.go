package shards

// shape is a stream's definition with what puts need of it. It is never changed: a change of the stream puts another one
// in its place, and who has taken one works with it to the end of his call.
type shape struct {
	def      definition
	revision uint64 // of the definition in the catalog
	routing  routing
	flows    []*flow // of the open shards, by index in def.Shards
	limited  bool    // the shards have limits
	observed bool    // the store chooses the shards, by what is put
}

// newShape is the shape of a definition that takes the place of an old one, which may be nil. Its error says that the open shards do not divide the hash keys; the shape
// comes back nevertheless.
func newShape(def definition, revision uint64, old *shape) (*shape, error) {
	sh := &shape{def: def, revision: revision, limited: def.Limits == LimitsAWS, observed: def.Mode == OnDemand}
	sh.flows = flowsOf(&sh.def, old)
	var err error
	sh.routing, err = newRouting(def.Shards)
	return sh, err
}

// flowsOf are the flows of the open shards of a definition, by their index in it: those that an earlier shape had, and new ones.
func flowsOf(def *definition, old *shape) []*flow {
	flows := make([]*flow, len(def.Shards))
	for i := range def.Shards {
		s := &def.Shards[i]
		if s.State != ShardOpen {
			continue
		}
		if old != nil {
			if j, ok := old.def.find(s.ID); ok {
				flows[i] = old.flows[j]
			}
		}
		if flows[i] == nil {
			flows[i] = new(flow)
		}
	}
	return flows
}
