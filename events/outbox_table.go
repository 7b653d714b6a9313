package events

import (
	"fmt"
	"regexp"
	"strings"
)

// outboxNames are the names of an outbox in the database, quoted where a statement needs them: so reserved words such as "order"
// are allowed, and PostgreSQL does not fold the case.
type outboxNames struct {
	text    string // as the user wrote it, for errors and logs
	rows    string // the table of rows
	relay   string // the table of the relay's lease
	index   string // as CREATE INDEX names it
	indexed string // the table of rows, as CREATE INDEX names it
	notify  string // PostgreSQL: the function
	trigger string // PostgreSQL: the trigger
	channel string // PostgreSQL: where it notifies the relay
}

const (
	defaultOutbox = "outbox"
	channelPrefix = "redstart_"
	// PostgreSQL cuts identifiers after 63 bytes and refuses to notify a longer channel. The channel's is the longest name.
	maxTableName  = 63 - len(channelPrefix)
	tableNameRule = "letters, digits and _ with at most one dot, between schema and table; the schema and the table begin with a letter or _"
)

var tableName = regexp.MustCompile(`^(?:([A-Za-z_][A-Za-z0-9_]*)\.)?([A-Za-z_][A-Za-z0-9_]*)$`)

// outbox returns the names of an outbox whose table has this name; "" is the default. The error says what a name may be.
func (d Dialect) outbox(table string) (outboxNames, error) {
	table = orDefault(table, defaultOutbox)
	parts := tableName.FindStringSubmatch(table)
	switch {
	case parts == nil:
		return outboxNames{}, fmt.Errorf("%q is no table name: want %s", table, tableNameRule)
	case len(table) > maxTableName:
		return outboxNames{}, fmt.Errorf("%q has %d bytes, the limit is %d", table, len(table), maxTableName)
	}

	schema, name := parts[1], parts[2]
	in := func(name string) string {
		if schema == "" {
			return d.quoted(name)
		}
		return d.quoted(schema) + "." + d.quoted(name)
	}
	names := outboxNames{
		text: table, rows: in(name), relay: in(name + "_relay"),
		index: d.quoted(name + "_waiting"), indexed: in(name),
		notify: in(name + "_notify"), trigger: d.quoted(name + "_notify"),
		channel: channelPrefix + strings.ReplaceAll(table, ".", "_"),
	}
	if d == SQLite { // there the index carries the schema, and the table may not
		names.index, names.indexed = in(name+"_waiting"), d.quoted(name)
	}
	return names, nil
}

// quoted is an identifier, which has no quotes in it.
func (d Dialect) quoted(identifier string) string {
	if d == MySQL {
		return "`" + identifier + "`"
	}
	return `"` + identifier + `"`
}
