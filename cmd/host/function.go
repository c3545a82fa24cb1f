package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/shardmill/shardmill/api"
	"github.com/shardmill/shardmill/internal/field"
	"github.com/shardmill/shardmill/runtime"
)

func newFunction(a *app) *cobra.Command {
	return group("function", "Functions: new, build, deploy, list, describe, invoke, logs, invocations, costs, alias, rollback, reserve, download, delete",
		newFunctionNew(a), newFunctionBuild(a), a.completing(newFunctionDeploy(a), functionNames), newFunctionList(a),
		a.completing(newFunctionDescribe(a), functionNames), a.completing(newFunctionInvoke(a), functionNames),
		a.completing(newFunctionLogs(a), functionNames), a.completing(newFunctionInvocations(a), functionNames), a.completing(newFunctionCosts(a), functionNames), newFunctionAlias(a), a.completing(newFunctionRollback(a), functionNames),
		a.completing(newFunctionReserve(a), functionNames), a.completing(newFunctionDownload(a), functionNames),
		a.completing(newFunctionDelete(a), functionNames))
}

func newFunctionDeploy(a *app) *cobra.Command {
	var config api.FunctionConfig
	var proof api.Proof
	var key string
	var leave bool
	c := &cobra.Command{
		Use:   "deploy NAME PATH",
		Short: "Upload a function: a .wasm, .ts or .js file, or a folder with its source, which is built first",
		Long: "Upload a function as its new version: a .wasm file, a .ts or .js file with what it imports, or a folder with its source, which is built first. The\n" +
			"settings in the folder's " + manifestFile + " are used unless a flag gives another. The same code with the same\n" +
			"settings makes no new version. It waits until the version serves; with --no-wait the host compiles it in the background, and the version\n" +
			"before serves until then.",
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			wasm, own, err := loadFunction(cmd.Context(), args[1])
			if err != nil {
				return err
			}
			settle(cmd.Flags(), &config, &own)
			if isBuilt(args[1]) {
				proof.Language = proofOf(wasm).Language
			}
			if key != "" {
				if proof.Signature, err = signModule(key, wasm); err != nil {
					return err
				}
			}
			var f api.Function
			if leave {
				f, err = client.Submit(cmd.Context(), args[0], bytes.NewReader(wasm), config, proof)
			} else {
				f, _, err = client.DeployProven(cmd.Context(), args[0], bytes.NewReader(wasm), config, proof)
			}
			if err != nil {
				return err
			}
			uploaded := &f.Config
			if f.Update != nil {
				uploaded = &f.Update.Config
			}
			a.warnOfMissing(cmd.Context(), client, uploaded)
			return a.printFunction(f)
		},
	}
	textFlag(c.Flags(), &config.Timeout, "timeout", "duration", "1ms to 15m", "how long one call may take (default 3s)")
	textFlag(c.Flags(), &config.Memory, "memory", "size", "1MiB to 4096MiB", "how much memory an instance may have (default 128MiB)")
	textFlag(c.Flags(), &config.IdleMemory, "idle-memory", "size", "1MiB to 1024GiB", "how much memory instances that wait for calls may hold together, beside the one used last (default 1GiB)")
	countFlag(c.Flags(), &config.Fuel, "fuel", "1000 to 1000000000000000", "how many instructions one call may execute (default: as many as it has time for)")
	countFlag(c.Flags(), &config.Concurrency, "concurrency", "1 to 1000", "how many instances may run at once (default: the host's)")
	c.Flags().StringVar(&config.Isolation, "isolation", "", "what calls have in common: instance (one after the other in an instance, the default) or invocation (each has a new one)")
	a.addGrants(c, &config)
	c.Flags().StringVar(&proof.Digest, "digest", "", "digest (sha256:…) the module must have")
	c.Flags().BoolVar(&leave, "no-wait", false, "do not wait until the version is compiled and serves (see function describe)")
	c.Flags().StringVar(&key, "sign", "", "PEM file with the ed25519 key to sign the module with (openssl genpkey -algorithm ed25519); for hosts with --trust-keys")
	return c
}

// isBuilt is whether what is uploaded of a path is made of it here. Any other file is taken for a module, so that the host says what a zip or a program is
// that is none.
func isBuilt(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir() || isScript(path)
}

// loadFunction reads a module from a .wasm file, bundles a script, or builds it from a folder; the settings are the folder's own.
func loadFunction(ctx context.Context, path string) ([]byte, api.FunctionConfig, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, api.FunctionConfig{}, err
	}
	if !info.IsDir() && isScript(path) {
		bundle, err := bundleScript(path)
		return bundle, api.FunctionConfig{}, err
	}
	if !info.IsDir() {
		wasm, err := readModule(path)
		return wasm, api.FunctionConfig{}, err
	}
	m, err := readManifest(path)
	if err != nil {
		return nil, api.FunctionConfig{}, err
	}
	wasm, err := buildModule(ctx, path)
	return wasm, m.config, err
}

// readModule reads a module, and no more of a file without an end, such as a device, than a host takes.
func readModule(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const most = runtime.DefaultMaxCodeBytes
	wasm, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if len(wasm) > most {
		return nil, field.Invalid("code", path, fmt.Sprintf("a module of at most %d bytes (%d MiB)", most, most>>20))
	}
	return wasm, nil
}

// buildModule builds the function in a folder and returns the module.
func buildModule(ctx context.Context, dir string) ([]byte, error) {
	tmp, err := os.MkdirTemp("", "shardmill-build-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	out := filepath.Join(tmp, "function.wasm")
	if err := buildFunction(ctx, dir, out); err != nil {
		return nil, err
	}
	return readModule(out)
}

func newFunctionList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the functions",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			functions, err := client.Functions(cmd.Context())
			if err != nil {
				return err
			}
			return printItems(a, functions, []string{"NAME", "VERSION>", "STATE", "SIZE>", "DEPLOYED"}, func(f api.Function) []string {
				return []string{f.Name, strconv.Itoa(f.Version), f.State, byteSize(int64(f.Size)), shortTime(f.Created)}
			})
		},
	}
}

func newFunctionDescribe(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "describe NAME",
		Short: "Show a function and its versions",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			f, err := client.Function(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.printFunction(f)
		},
	}
}

func fuelLimit(n int) string {
	if n == 0 {
		return "any"
	}
	return thousands(int64(n)) + " instructions a call"
}

func (a *app) printFunction(f api.Function) error {
	rows := [][2]string{{"Name", f.Name}, {"Version", strconv.Itoa(f.Version)}, {"State", because(f.State, f.Reason)}}
	if u := f.Update; u != nil && u.Version != f.Version {
		rows = append(rows, [2]string{"Update", fmt.Sprintf("version %d: %s", u.Version, because(u.State, u.Reason))})
	}
	err := a.printFields(f, append(rows,
		[2]string{"Handles", joinOr(f.Handles, "anything")},
		[2]string{"Starts", because(cmp.Or(f.Start, "not yet"), f.StartReason)},
		[2]string{"Isolation", cmp.Or(f.Config.Isolation, "instance")},
		[2]string{"Timeout", f.Config.Timeout.String()},
		[2]string{"Memory", f.Config.Memory.String()},
		[2]string{"Idle memory", f.Config.IdleMemory.String()},
		[2]string{"Fuel", fuelLimit(f.Config.Fuel)},
		[2]string{"Concurrency", strconv.Itoa(f.Config.Concurrency)},
		[2]string{"Reserved", reservedCalls(f.Reserved)},
		[2]string{"May emit to", joinOr(f.Config.Emit, "nothing")},
		[2]string{"May read", joinOr(f.Config.Secrets, "no secret")},
		[2]string{"State tables", joinOr(f.Config.State, "none")},
		[2]string{"May call", joinOr(f.Config.HTTP, "no server")},
		[2]string{"Variables", joinOr(f.Config.Env.Pairs(), "none")},
		[2]string{"Signed by", cmp.Or(f.SignedBy, "nobody")},
	)...)
	if err == nil && a.output != outputJSON {
		err = a.printChange(f.Change)
	}
	if err != nil || a.output == outputJSON || len(f.Versions) == 0 {
		return err
	}
	t := newTable("VERSION>", "CALLS>", "FAILED>", "SIZE>", "DEPLOYED", "DIGEST")
	for _, v := range slices.Backward(f.Versions) {
		t.add(strconv.Itoa(v.Version), strconv.FormatUint(v.Invocations, 10), strconv.FormatUint(v.Failures, 10),
			byteSize(int64(v.Size)), shortTime(v.Created), v.Digest)
	}
	fmt.Fprintln(a.out)
	if err := t.write(a.out); err != nil || len(f.Aliases) == 0 {
		return err
	}
	t = newTable("ALIAS", "LEADS TO", "DESCRIPTION")
	for _, alias := range f.Aliases {
		t.add(alias.Name, leadsTo(&alias), alias.Description)
	}
	fmt.Fprintln(a.out)
	return t.write(a.out)
}

func reservedCalls(n *int) string {
	if n == nil {
		return "no bound over all versions"
	}
	return fmt.Sprintf("%d calls at once over all versions", *n)
}

func newFunctionLogs(a *app) *cobra.Command {
	var from string
	var follow bool
	c := &cobra.Command{
		Use:   "logs NAME",
		Short: "Show what a function wrote",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			var since time.Time
			if from != "" {
				if since, err = parseWhen(from, time.Now()); err != nil {
					return err
				}
			}
			for line, err := range client.Logs(cmd.Context(), args[0], api.LogOptions{From: since, Follow: follow}) {
				if err == nil {
					err = a.printLog(line)
				}
				if err != nil {
					return unlessInterrupted(cmd.Context(), err)
				}
			}
			return nil
		},
	}
	c.Flags().StringVar(&from, "from", "", "begin at a time (2026-01-02T15:04:05Z) or so long ago (15m); default: all that is kept")
	c.Flags().BoolVarP(&follow, "follow", "f", false, "wait for lines to come")
	return c
}

func (a *app) printLog(l api.LogLine) error {
	if a.output == outputJSON {
		return a.printJSON(l)
	}
	_, err := fmt.Fprintf(a.out, "%s  %-5s  v%d  %s  %s\n", clock(l.Time), l.Level, l.Version, l.Invocation, logText(l.Message))
	return err
}

func newFunctionDelete(a *app) *cobra.Command {
	var force bool
	var version int
	c := &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a function with all its versions, or one older version",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			if version != 0 {
				if err := client.DeleteVersion(cmd.Context(), args[0], version, force); err != nil {
					return err
				}
				return a.printDeleted("version", strconv.Itoa(version))
			}
			if err := client.DeleteFunction(cmd.Context(), args[0], force); err != nil {
				return err
			}
			return a.printDeleted("function", args[0])
		},
	}
	countFlag(c.Flags(), &version, "version", "1 or more", "delete this version only (default: the whole function)")
	forceFlag(c, &force)
	return c
}
