package guides_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
)

// Product is a row of the source.
type Product struct {
	Name  string
	Brand string
	Cents int
}

// Source is the database. It returns the errors of its driver.
type Source interface {
	Product(ctx context.Context, id string) (Product, error)
	Products(ctx context.Context, ids []string) (map[string]Product, error)
	SetPrice(ctx context.Context, id string, cents int) error
}

// Shelf reads products through a cache.
type Shelf struct {
	source   Source
	products *cache.Cache[Product]
	log      *slog.Logger
}

// NewShelf makes the cache once. All processes of the service use the same name and options.
func NewShelf(client *redstart.Client, source Source, log *slog.Logger) (*Shelf, error) {
	products, err := cache.New[Product](client, "products", cache.Options{
		TTL:         5 * time.Minute,
		StaleFor:    time.Hour,        // served while the source fails
		NegativeTTL: 10 * time.Second, // for ids that do not exist
		Near:        cache.NearOptions{MaxEntries: 10_000},
	})
	return &Shelf{source: source, products: products, log: log}, err
}

// Product returns one product. The loader runs on a miss, once in all processes.
func (s *Shelf) Product(ctx context.Context, id string) (Product, error) {
	return s.products.GetOrLoad(ctx, id, s.load)
}

// load reads the source and names the tags of the entry.
func (s *Shelf) load(ctx context.Context, id string) (Product, error) {
	product, err := s.source.Product(ctx, id)
	if err != nil {
		return Product{}, err
	}
	cache.Adjust(ctx, cache.Tags("brand:"+product.Brand))

	return product, nil
}

// SetPrice changes the source first, and then invalidates.
func (s *Shelf) SetPrice(ctx context.Context, id string, cents int) error {
	if err := s.source.SetPrice(ctx, id, cents); err != nil {
		return err // nothing has changed
	}

	// The change is committed: invalidate even if the caller's context has ended.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := s.products.Delete(ctx, id); err != nil {
		s.log.ErrorContext(ctx, "shelf: a product is not invalidated yet", "id", id, "error", err)
	}
	return nil
}

// Recall ends the entries of all products of a brand, in two round trips for any number of entries.
func (s *Shelf) Recall(ctx context.Context, brand string) error {
	return s.products.InvalidateTags(ctx, "brand:"+brand)
}

// OfBrand returns several products of one brand. The misses are loaded by one query. Ids that do
// not exist are absent.
func (s *Shelf) OfBrand(ctx context.Context, brand string, ids []string) (map[string]Product, error) {
	products, err := s.products.GetOrLoadMany(ctx, ids, s.source.Products, cache.Tags("brand:"+brand))

	var partial *cache.BatchError
	if errors.As(err, &partial) {
		s.log.ErrorContext(ctx, "shelf: some products are missing", "count", len(partial.Keys), "error", err)
		return products, nil
	}
	return products, err
}

// rows is a source in memory.
type rows map[string]Product

func (r rows) Product(_ context.Context, id string) (Product, error) {
	fmt.Println("the source reads", id)
	product, ok := r[id]
	if !ok {
		return Product{}, cache.ErrNotFound
	}
	return product, nil
}

func (r rows) Products(_ context.Context, ids []string) (map[string]Product, error) {
	fmt.Println("the source reads", len(ids), "rows")
	found := map[string]Product{}
	for _, id := range ids {
		if product, ok := r[id]; ok {
			found[id] = product
		}
	}
	return found, nil
}

func (r rows) SetPrice(_ context.Context, id string, cents int) error {
	product := r[id]
	product.Cents = cents
	r[id] = product
	return nil
}

func ExampleShelf() {
	ctx := context.Background()
	client, end := start(ctx)
	defer end()

	source := rows{"pen": {"Pen", "Acme", 120}, "cup": {"Cup", "Acme", 900}}
	shelf := must(NewShelf(client, source, slog.Default()))

	fmt.Println(must(shelf.Product(ctx, "pen")).Cents)
	fmt.Println(must(shelf.Product(ctx, "pen")).Cents)
	fmt.Println(shelf.SetPrice(ctx, "pen", 150))
	fmt.Println(must(shelf.Product(ctx, "pen")).Cents)

	_, err := shelf.Product(ctx, "hat")
	fmt.Println(errors.Is(err, cache.ErrNotFound))
	_, err = shelf.Product(ctx, "hat") // remembered for NegativeTTL
	fmt.Println(errors.Is(err, cache.ErrNotFound))

	fmt.Println(len(must(shelf.OfBrand(ctx, "Acme", []string{"pen", "cup", "hat"}))))
	fmt.Println(shelf.Recall(ctx, "Acme"))
	fmt.Println(must(shelf.Product(ctx, "cup")).Cents)
	// Output:
	// the source reads pen
	// 120
	// 120
	// <nil>
	// the source reads pen
	// 150
	// the source reads hat
	// true
	// true
	// the source reads 1 rows
	// 2
	// <nil>
	// the source reads cup
	// 900
}
