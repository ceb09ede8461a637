from django.db import models


class Customer(models.Model):
    name = models.CharField(max_length=100, unique=True)
    notes = models.TextField(default="", db_index=True)


class Order(models.Model):
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE)
    amount = models.DecimalField(max_digits=8, decimal_places=2)
    made = models.DateTimeField(auto_now_add=True)


class Tag(models.Model):
    name = models.SlugField(unique=True)
    orders = models.ManyToManyField(Order)
