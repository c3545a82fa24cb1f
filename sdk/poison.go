package sdk

// PoisonVariable is the environment variable that has the memory of each call overwritten when its handler has returned, so that a view that was kept
// too long is seen: it then has nothing but bytes of [PoisonByte], for ever. "1" switches it on. It costs a copy of the records, and the time to overwrite it.
const PoisonVariable = "SHARDMILL_POISON"

// PoisonByte is what the memory of a call is overwritten with. It is in no text: UTF-8 has no such byte but as the first of two.
const PoisonByte = 0xDB

// Poisoned has the guest overwrite the memory of each call when its handler has returned. Package sdktest does so always.
func (g *Guest) Poisoned(on bool) *Guest {
	g.poisons = on
	return g
}

func poison(call []byte) {
	for i := range call {
		call[i] = PoisonByte
	}
}
