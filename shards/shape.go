package shards

// shape is a stream's definition with what puts need of it. It is never changed: a change of the stream puts another one
// in its place, and who has taken one works with it to the end of his call.
type shape struct {
	def      definition
	revision uint64 // of the definition in the catalog
	routing  routing
}

// newShape is the shape of a definition. Its error says that the open shards do not divide the hash keys; the shape
// comes back nevertheless.
func newShape(def definition, revision uint64) (*shape, error) {
	sh := &shape{def: def, revision: revision}
	var err error
	sh.routing, err = newRouting(def.Shards)
	return sh, err
}
