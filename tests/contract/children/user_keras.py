"""A user's own file of models, Keras ones."""

import keras
from keras import layers


def network():
    x = inputs = keras.Input((8, 8, 3), name="image")
    x = layers.ReLU()(layers.Conv2D(4, 3)(x))
    return keras.Model(inputs, layers.Dense(5, name="logits")(layers.Flatten()(x)))


def unnamed():
    """As most are written; built after another one, so that Keras numbers its input."""
    keras.Input((2,))
    inputs = keras.Input((6,))
    return keras.Model(inputs, layers.Dense(4, name="dense")(inputs))


class Scale(layers.Layer):
    def build(self, shape):
        self.factor = self.add_weight(shape=(shape[-1],), initializer="random_normal", name="factor")

    def call(self, x):
        return x * self.factor


def own_layer():
    inputs = keras.Input((6,), name="x")
    return keras.Model(inputs, Scale(name="scale")(layers.Dense(4)(inputs)))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)

    def call(self, x):
        return self.dense(x)


def subclassed():
    return Subclassed()
