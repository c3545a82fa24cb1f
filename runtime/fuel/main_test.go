package fuel

import (
	"context"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// engine is a runtime with what rewritten modules import: a host that gives out slices and counts what it gave.
type engine struct {
	wazero.Runtime
	slice   int64
	granted int64
	refills int
	most    int // refills after which the guest is stopped; 0 means never
}

const stopped = "out of fuel"

func newEngine(t testing.TB, config wazero.RuntimeConfig, slice int64) *engine {
	t.Helper()
	ctx := context.Background()
	e := &engine{Runtime: wazero.NewRuntimeWithConfig(ctx, config.WithCoreFeatures(api.CoreFeaturesV2|experimental.CoreFeaturesTailCall)), slice: slice}
	t.Cleanup(func() { e.Close(ctx) })
	refill := func(_ context.Context, guest api.Module, _ []uint64) {
		if e.refills++; e.most > 0 && e.refills > e.most {
			panic(stopped)
		}
		fuel := guest.ExportedGlobal(Export).(api.MutableGlobal)
		e.granted += e.slice - int64(fuel.Get())
		fuel.Set(uint64(e.slice))
	}
	_, err := e.NewHostModuleBuilder(ImportModule).
		NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(refill), nil, nil).Export(ImportName).Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// start makes an instance of a module; name may be empty.
func (e *engine) start(code []byte, name string) (api.Module, error) {
	return e.InstantiateWithConfig(context.Background(), code, wazero.NewModuleConfig().WithName(name).WithStartFunctions())
}

// used is what an instance has used of the fuel, when it is the only one.
func (e *engine) used(m api.Module) int64 {
	return e.granted - int64(m.ExportedGlobal(Export).Get())
}

func rewrite(t testing.TB, code []byte) []byte {
	t.Helper()
	out, err := Rewrite(code)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// reason is what an error says, without the stack.
func reason(err error) string {
	if err == nil {
		return ""
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	return text
}
