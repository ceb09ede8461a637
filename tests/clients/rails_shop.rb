# ActiveRecord: migrations forwards and back under its advisory lock, and the ORM. Where to is in PG* variables.

require "active_record"

ActiveRecord::Base.establish_connection(
  adapter: "postgresql",
  host: ENV.fetch("PGHOST"),
  port: ENV.fetch("PGPORT"),
  username: ENV.fetch("PGUSER"),
  password: ENV.fetch("PGPASSWORD"),
  database: ENV.fetch("PGDATABASE"),
  pool: 5,
)
ActiveRecord::Migration.verbose = false

class CreateShop < ActiveRecord::Migration[6.1]
  def change
    create_table :customers do |t|
      t.string :name, null: false, index: { unique: true }
      t.integer :orders_count, null: false, default: 0
      t.integer :lock_version, null: false, default: 0
      t.jsonb :options, null: false, default: {}
      t.timestamps
    end
    create_table :orders, id: :uuid, default: -> { "gen_random_uuid()" } do |t|
      t.references :customer, null: false, foreign_key: { on_delete: :cascade }
      t.decimal :amount, precision: 8, scale: 2, null: false
      t.datetime :made, default: -> { "CURRENT_TIMESTAMP" }
      t.string :labels, array: true, default: []
      t.timestamps
    end
    create_table :tags do |t|
      t.string :name
    end
    create_join_table :customers, :tags
  end
end

class GrowShop < ActiveRecord::Migration[6.1]
  class Customer < ActiveRecord::Base
  end

  def up
    execute "CREATE TYPE mood AS ENUM ('sad', 'happy')"
    add_column :customers, :mood, :mood, default: "happy"
    add_column :customers, :notes, :text, default: "", null: false
    Customer.reset_column_information
    Customer.where("name LIKE '%7'").update_all(notes: "lucky")
    Customer.create!(name: "made by a migration")
    add_check_constraint :orders, "amount >= 0", name: "no_debts"
    change_column :orders, :amount, :decimal, precision: 10, scale: 3
    rename_column :tags, :name, :title
    change_column_null :tags, :title, false
    execute "ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'"
  end

  def down
    change_column_null :tags, :title, true
    rename_column :tags, :title, :name
    change_column :orders, :amount, :decimal, precision: 8, scale: 2
    remove_check_constraint :orders, name: "no_debts"
    Customer.where(name: "made by a migration").delete_all
    remove_column :customers, :notes
    remove_column :customers, :mood
    execute "DROP TYPE mood"
  end
end

class IndexWithoutLocks < ActiveRecord::Migration[6.1]
  disable_ddl_transaction!

  def change
    add_index :orders, %i[customer_id made], algorithm: :concurrently
    add_index :customers, :notes, where: "notes <> ''", algorithm: :concurrently
  end
end

class Customer < ActiveRecord::Base
  has_many :orders, dependent: :delete_all
  has_and_belongs_to_many :tags
end

class Order < ActiveRecord::Base
  belongs_to :customer, counter_cache: true
end

class Tag < ActiveRecord::Base
  has_and_belongs_to_many :customers
end

MIGRATIONS = [CreateShop, GrowShop, IndexWithoutLocks].each_with_index.map do |migration, at|
  migration.new(migration.name, at + 1)
end

def migrate(direction, target)
  [Customer, Order, Tag].each(&:reset_column_information)
  ActiveRecord::Migrator.new(direction, MIGRATIONS, ActiveRecord::SchemaMigration, target).migrate
  ActiveRecord::Base.connection.schema_cache.clear!
  [Customer, Order, Tag].each(&:reset_column_information)
end

def check(what)
  raise "not so" unless what
end

def raises(error)
  yield
rescue error
  nil
else
  raise "no #{error}"
end

def use
  30.times { |n| Customer.create!(name: "customer #{n}", options: { n: n }) }
  Customer.where("name LIKE 'customer %'").find_each { |customer| customer.orders.create!(amount: 7, labels: %w[a b]) }
  check Customer.sum(:orders_count) == 30

  first = Customer.find_by!(name: "customer 1")
  same = Customer.find(first.id)
  first.update!(options: { changed: true })
  raises(ActiveRecord::StaleObjectError) { same.update!(options: {}) }

  first.with_lock { first.update!(name: "first") }
  Order.transaction do
    Order.lock("FOR UPDATE SKIP LOCKED").limit(3).each { |order| order.update!(amount: 14) }
    raises(ActiveRecord::RecordNotUnique) do
      Order.transaction(requires_new: true) { Customer.create!(name: "customer 2") }
    end
  end
  Order.transaction(isolation: :serializable) { first.orders.create!(amount: 1) }
  check Order.sum(:amount) == 27 * 7 + 3 * 14 + 1

  now = Time.now
  Customer.insert_all([{ name: "a", created_at: now, updated_at: now }, { name: "b", created_at: now, updated_at: now }])
  Customer.upsert_all([{ name: "a", options: { n: 1 }, created_at: now, updated_at: now }], unique_by: :name)
  check Customer.find_by!(name: "a").options == { "n" => 1 }

  tags = Tag.column_names.include?("title") ? %w[x y].map { |n| Tag.create!(title: n) } : %w[x y].map { |n| Tag.create!(name: n) }
  first.tags = tags
  first.tags.delete(tags[0])
  check first.tags.reload == [tags[1]]
  Customer.find_by!(name: "customer 3").destroy!
  Customer.where("name LIKE 'customer 1%'").delete_all
  check Order.count == 20
end

migrate(:up, 1)
use
migrate(:up, 3)
check ActiveRecord::SchemaMigration.all_versions == %w[1 2 3]
raises(ActiveRecord::StatementInvalid) { Order.first.update_column(:amount, -1) }
migrate(:down, 1)
Customer.connection.truncate_tables("customers", "orders", "tags", "customers_tags")
use
migrate(:up, 3)
