package store

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/redstart-go/redstart/events"
)

// Each file is one step, which is applied once and whose statements never change afterwards:
// 0001_users.sql is step 1.
//
//go:embed migrations/*.sql
var migrations embed.FS

// migrate applies the steps that the database does not have, all or none. If several processes
// start at the same time, one applies them and the others wait.
func (s *Store) migrate(ctx context.Context) error {
	files, err := fs.Glob(migrations, "migrations/*.sql") // sorted by name
	if err != nil {
		return fmt.Errorf("store: migrations: %w", err)
	}
	return s.change(ctx, func(tx transaction) error {
		if s.dialect.exclusive != "" {
			if _, err := tx.ExecContext(ctx, s.dialect.exclusive); err != nil {
				return fmt.Errorf("store: migrations: %w", err)
			}
		}
		const create = `CREATE TABLE IF NOT EXISTS schema_migrations (version INTEGER PRIMARY KEY, applied_at TIMESTAMP NOT NULL)`
		if _, err := tx.ExecContext(ctx, create); err != nil {
			return fmt.Errorf("store: schema_migrations: %w", err)
		}
		var applied int
		if err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(version), 0) FROM schema_migrations`).Scan(&applied); err != nil {
			return fmt.Errorf("store: schema_migrations: %w", err)
		}
		for _, file := range files {
			if err := s.apply(ctx, tx, file, applied); err != nil {
				return fmt.Errorf("store: %s: %w", file, err)
			}
		}
		return nil
	})
}

func (s *Store) apply(ctx context.Context, tx transaction, file string, applied int) error {
	number, _, _ := strings.Cut(strings.TrimPrefix(file, "migrations/"), "_")
	version, err := strconv.Atoi(number)
	if err != nil || version <= applied {
		return err
	}
	text, err := migrations.ReadFile(file)
	if err != nil {
		return err
	}
	outbox, err := events.OutboxSchema(s.dialect.outbox, "")
	if err != nil {
		return err
	}
	filled := strings.NewReplacer("{{id}}", s.dialect.id, "{{outbox}}", strings.Join(outbox, ";\n"))
	if _, err := tx.ExecContext(ctx, filled.Replace(string(text))); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO schema_migrations (version, applied_at) VALUES ($1, $2)`, version, time.Now().UTC())
	return err
}
