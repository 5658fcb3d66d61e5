#!/usr/bin/env python
# coding: utf-8

# # A notebook, exported as a script

# In[1]:


import numpy as np

SEED = 0
degree = 1


# In[2]:


random = np.random.default_rng(SEED)
x = random.uniform(-1, 1, 40)
y = np.sin(3 * x) + 0.2 * random.normal(size=40)
fit = np.polynomial.Polynomial.fit(x, y, degree)


# In[3]:


held = np.linspace(-1, 1, 200)
print("error:", np.mean((fit(held) - np.sin(3 * held)) ** 2))
