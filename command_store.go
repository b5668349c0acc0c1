package frontier

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/caddy-frontier/frontier/internal/control"
)

func (c *cli) storeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "store", Short: "Verifies, backs up and restores what is stored",
		Long: `
Works with the data directory: prompts, aliases and weights (the control store),
and traces. Verifying and backing up ask the running server; restoring is done
while it is stopped.

	$ caddy llm store verify`,
	}
	group(cmd, c.storeVerifyCommand(), c.storeBackupCommand(), c.storeRestoreCommand())
	return cmd
}

func (c *cli) storeVerifyCommand() *cobra.Command {
	return c.command("verify", "Reads everything again, and compares checksums", `
Has the running server read everything that it stores, and compare copies and
checksums. Nothing is changed; what is damaged is put aside, and restored from a
copy where there is one, when the server starts the next time. The exit code is
1 when something is damaged.

	$ caddy llm store verify`, exactly(), func(r *request, _ []string) error {
		var v verified
		done, err := r.call(http.MethodPost, "/llm/store/verify", nil, nil, &v)
		if err != nil || done {
			return err
		}
		state := "in order"
		if v.Control.Error != nil {
			state = *v.Control.Error
		}
		r.fields(
			field{"data directory", v.DataDir},
			field{"control store", fmt.Sprintf("%s records at revision %d: %s", count(float64(v.Control.Records)), v.Control.Revision, state)},
			field{"traces", fmt.Sprintf("%s in %d files, %s damaged", count(float64(v.Traces.Traces)), v.Traces.Files, count(float64(v.Traces.Damaged)))},
		)
		for _, f := range v.Traces.Faults {
			r.line("  " + printable(f, false))
		}
		if v.Control.Error != nil || v.Traces.Damaged > 0 {
			return errors.New("something is damaged")
		}
		return nil
	})
}

func (c *cli) storeBackupCommand() *cobra.Command {
	return c.command("backup FILE", "Writes a backup of prompts, aliases and weights", `
Writes all prompts, aliases and weights of the running server to a file ("-" is
standard output). Traces are not part of it: copy the directory traces of the
data directory. A file that is there already is left alone.

	$ caddy llm store backup today.backup`, exactly("FILE"), func(r *request, args []string) error {
		if args[0] != "-" {
			if _, err := os.Lstat(args[0]); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s is there already; name another file", args[0])
			}
		}
		b, err := r.server.do(r.ctx, http.MethodGet, "/llm/store/backup", nil, nil)
		if err != nil {
			return err
		}
		if args[0] == "-" {
			_, err = r.out.Write(b)
			return err
		}
		if err := writeNew(args[0], b); err != nil {
			return err
		}
		r.note("Wrote %s (%d bytes).", args[0], len(b))
		return nil
	})
}

// writeNew writes a file that is whole or not there, and readable by its owner alone.
func writeNew(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Link(f.Name(), path) // unlike a rename, it replaces nothing
}

func (c *cli) storeRestoreCommand() *cobra.Command {
	var dir string
	cmd := c.command("restore FILE", "Makes prompts, aliases and weights what they were in a backup", `
Makes the prompts, aliases and weights of a data directory what they were when a
backup was written: by caddy llm store backup, or one of the files control/backup-…
that the server itself keeps in its data directory. The server must be stopped.
What was there is kept beside it, in control/replaced-….

	$ caddy llm store restore frontier.backup --data-dir data/llm`, exactly("FILE"), func(r *request, args []string) error {
		if dir == "" {
			dir = defaultDataDir()
		}
		if err := control.Restore(filepath.Join(dir, "control"), args[0]); err != nil {
			if errors.Is(err, control.ErrLocked) {
				return fmt.Errorf("%s is in use; stop the Caddy that uses it, then restore", dir)
			}
			return err
		}
		r.note("Restored %s from %s.", filepath.Join(dir, "control"), args[0])
		return nil
	})
	cmd.Flags().StringVar(&dir, "data-dir", "", "The data directory; default: llm in Caddy's own data directory")
	return cmd
}
