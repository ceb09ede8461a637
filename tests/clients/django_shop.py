"""Django: its own migrations, those of a small shop, forwards and back, and the ORM. Where to is in PG* variables."""

import os
import sys

import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=[
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "django.contrib.sessions",
        "shop",
    ],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": os.environ["PGHOST"],
            "PORT": os.environ["PGPORT"],
            "USER": os.environ["PGUSER"],
            "PASSWORD": os.environ["PGPASSWORD"],
            "NAME": os.environ["PGDATABASE"],
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    SECRET_KEY="tests",
    USE_TZ=True,
)
sys.dont_write_bytecode = True
django.setup()

from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.db import IntegrityError, transaction
from django.db.models import F, Sum
from shop.models import Customer, Order, Tag


def use():
    user = User.objects.create_user("ann", "ann@example.org", "secret")
    user.groups.add(Group.objects.create(name="staff"))
    customers = Customer.objects.bulk_create(Customer(name=f"customer {n}") for n in range(30))
    Order.objects.bulk_create(Order(customer=customer, amount=7) for customer in customers)
    order = Order.objects.select_for_update().filter(amount=7)
    with transaction.atomic():
        assert order.count() == 30
        Order.objects.filter(customer__name__endswith="5").update(amount=F("amount") * 2)
    tag, made = Tag.objects.get_or_create(name="new")
    assert made and not Tag.objects.get_or_create(name="new")[1]
    tag.orders.set(Order.objects.all()[:5])
    Customer.objects.filter(name__startswith="customer 1").delete()
    assert Order.objects.aggregate(Sum("amount"))["amount__sum"] == 19 * 7 + 2 * 7
    customer, _ = Customer.objects.update_or_create(name="customer 2", defaults={"notes": "good"})
    try:
        with transaction.atomic():
            Customer.objects.create(name=customer.name)
    except IntegrityError:
        pass
    else:
        raise AssertionError("no unique violation")


call_command("migrate", verbosity=0)
use()
call_command("migrate", "shop", "0001", verbosity=0)
call_command("migrate", "shop", verbosity=0)
call_command("flush", interactive=False, verbosity=0)
use()
